//! Gives the program the commit it was built from (`MILLRACE_COMMIT`): nine digits, `-dirty` when
//! tracked files differ from it, `unknown` where there is no git.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = git(&["rev-parse", "--short=9", "HEAD"]);
    let commit = commit.map_or_else(|| "unknown".to_owned(), |commit| commit + dirty());
    println!("cargo::rustc-env=MILLRACE_COMMIT={commit}");
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    watch_commit();
}

fn dirty() -> &'static str {
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if !changes.is_empty() => "-dirty",
        _ => "",
    }
}

/// A commit or a check-out changes HEAD or the branch it points to. A branch that is only in
/// packed-refs gets a file of its own with the next commit, so its folder is watched.
fn watch_commit() {
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    let names = [
        Some("HEAD".to_owned()),
        branch.clone(),
        Some("packed-refs".to_owned()),
    ];
    for name in names.into_iter().flatten() {
        watch(&name);
    }
    if let Some((folder, _)) = branch.as_deref().and_then(|branch| branch.rsplit_once('/')) {
        watch(folder);
    }
}

/// A path that does not exist would make every build run this again.
fn watch(name: &str) {
    let path = git(&["rev-parse", "--git-path", name]);
    if let Some(path) = path.filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
