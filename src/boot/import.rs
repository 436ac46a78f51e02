//! `broker import`: reads the files of another broker, writes those of this one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::boot::Refusal;
use crate::cli::import::{From, Imported, Request, Text, emqx, mosquitto};

/// Bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What was written, and what was not carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What to tell the user.
    pub said: Vec<String>,
    /// What was not carried over, a line each.
    pub lost: Vec<String>,
}

/// Does what was asked for.
///
/// # Errors
/// Why nothing was written.
pub fn run(request: &Request) -> Result<Done, Refusal> {
    let file = read(&request.file)?;
    let base = request.out.with_extension("");
    let base = base.to_string_lossy();
    let done = match request.from {
        From::Emqx => {
            let acl = request.acl.as_deref().map(Path::to_string_lossy);
            let plugins = plugins(request.plugins.as_deref())?;
            emqx::import(&file, acl.as_deref(), &plugins)
        }
        From::Mosquitto => {
            let read_named = |name: &str| {
                let text = read(Path::new(name)).map(|file| file.text);
                text.map_err(|refusal| refusal.to_string())
            };
            mosquitto::import(&file, &base, &read_named)
        }
    };
    write(request, &base, done?)
}

fn read(path: &Path) -> Result<Text, Refusal> {
    let shown = path.display().to_string();
    let refused = |error: &dyn std::fmt::Display| {
        Refusal::from(format!("the file {shown} cannot be read: {error}"))
    };
    let bytes = fs::metadata(path).map_err(|error| refused(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(refused(&format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| refused(&error))?;
    Ok(Text { name: shown, text })
}

/// The plugins' files, by name.
fn plugins(directory: Option<&Path>) -> Result<Vec<Text>, Refusal> {
    let Some(directory) = directory else {
        return Ok(Vec::new());
    };
    let shown = directory.display();
    let refused =
        |error: io::Error| Refusal::from(format!("the directory {shown} cannot be read: {error}"));
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(refused)? {
        paths.push(entry.map_err(refused)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "conf"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Writes the configuration, and before it the files it names.
fn write(request: &Request, base: &str, done: Imported) -> Result<Done, Refusal> {
    let mut all: Vec<(PathBuf, &String)> = Vec::new();
    for (ending, text) in &done.files {
        all.push((PathBuf::from(format!("{base}.{ending}")), text));
    }
    all.push((request.out.clone(), &done.toml));
    for (path, _) in &all {
        if path.exists() && !request.force {
            let shown = path.display();
            return Err(format!("{shown} is there already; --force replaces it").into());
        }
    }
    let mut said = Vec::new();
    for (path, text) in &all {
        let shown = path.display();
        write_private(path, text)
            .map_err(|error| Refusal::from(format!("{shown} cannot be written: {error}")))?;
        said.push(format!("{shown} is written"));
    }
    let (lost, needless) = (done.lost.len(), done.needless.len());
    said.push(format!(
        "{lost} settings were not carried over; {needless} are not needed here; both stand at the top of \
         the file"
    ));
    Ok(Done {
        said,
        lost: done.lost,
    })
}

/// There may be passwords in it: only its owner reads it.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut open = fs::OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    open.open(path)?.write_all(text.as_bytes())
}
