//! Checks of the source text itself: who may name whom, which crate lives where, words that are
//! banned, sizes. They run with the unit tests, so a new edge between two rooms shows up as a change
//! of a table in this file, with its reason in the commit.
//!
//! Words are looked for in the code only: [`code_of`] blanks comments and literals first. A check is
//! a function from one file to what is wrong in it, and each is shown to find a planted fault.

mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tables::{
    BANNED, BANNED_EVERYWHERE, BANNED_OUTSIDE_TESTS, CONFINED, MAY_NAME, TOP_LEVEL, UNSAFE_FILES,
};

/// Longest file. More does not fit into one reading.
const FILE_LINES_MAX: usize = 800;
/// Longest function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Functions that are longer, with their length. The list may only shrink: a function that has become
/// shorter gets its new length here, and leaves the list when it fits.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];
/// How far above an `unsafe` block its `SAFETY:` comment may begin, in lines.
const SAFETY_LINES_MAX: usize = 9;

/// One source file.
struct Source {
    /// Path from the root of the repository.
    path: String,
    /// The room: the folder or file below `src`; for other files the folder they lie in.
    room: String,
    text: String,
    /// The text with comments and literals blanked, line for line the same length.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let below = path.strip_prefix("src/").unwrap_or(path);
        let room = below.split('/').next().unwrap_or(below);
        Self {
            path: path.to_owned(),
            room: room.trim_end_matches(".rs").to_owned(),
            text: text.to_owned(),
            code: code_of(text),
        }
    }

    fn is_product(&self) -> bool {
        self.path.starts_with("src/")
    }

    fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| {
            matches!(part, "tests" | "tests.rs" | "tidy.rs" | "sim") || part.ends_with("_tests.rs")
        })
    }

    /// The code before the first module of tests, which comes last in a file.
    fn code_without_tests(&self) -> &str {
        if self.is_test() {
            return "";
        }
        let begins_tests = |(at, _): &(usize, &str)| {
            let mut lines = self.code[*at..].lines().skip(1);
            let test = lines.next().is_some_and(|line| line.contains("test"));
            test && lines
                .find(|line| !line.starts_with("#["))
                .is_some_and(|line| line.starts_with("mod "))
        };
        let end = self.code.match_indices("\n#[cfg(").find(begins_tests);
        &self.code[..end.map_or(self.code.len(), |(at, _)| at)]
    }
}

/// What is wrong, each with its file.
type Faults = Vec<String>;

fn layering(file: &Source) -> Faults {
    if !file.is_product() {
        return Faults::new();
    }
    let Some((_, allowed)) = MAY_NAME.iter().find(|(room, _)| *room == file.room) else {
        return vec![format!("the room `{}` is not in MAY_NAME", file.room)];
    };
    let mut faults = Faults::new();
    for name in named_rooms(&file.code) {
        let known = MAY_NAME.iter().any(|(room, _)| *room == name);
        if known && name != file.room && !allowed.contains(&name.as_str()) {
            faults.push(format!("`{}` may not name `{name}`", file.room));
        }
    }
    let is_top = matches!(file.path.matches('/').count(), 1) || file.path.ends_with("/mod.rs");
    let is_top = is_top && file.path.matches('/').count() <= 2;
    if is_top
        && file
            .code
            .lines()
            .any(|line| line.trim_start_matches("pub ").starts_with("use super::"))
    {
        faults.push("say `crate::`: from here `super` is the whole crate".to_owned());
    }
    faults
}

/// The first names that follow `crate::`, also inside braces.
fn named_rooms(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '$' || is_word(c)) {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => names.extend(first_word(rest)),
            Some(list) => {
                let mut depth = 0_usize;
                let mut item_start = 0;
                for (at, c) in list.char_indices() {
                    match c {
                        '}' if depth == 0 => {
                            names.extend(first_word(&list[item_start..at]));
                            break;
                        }
                        ',' if depth == 0 => {
                            names.extend(first_word(&list[item_start..at]));
                            item_start = at + 1;
                        }
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|c| is_word(*c))
        .collect();
    (!word.is_empty()).then_some(word)
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether `code` holds `text` with no letter, digit or `_` around it.
fn has_word(code: &str, text: &str) -> bool {
    code.match_indices(text).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + text.len()..].chars().next();
        let ends_open = text.ends_with([':', '!']);
        !before.is_some_and(is_word) && (ends_open || !after.is_some_and(is_word))
    })
}

fn confined_crates(file: &Source) -> Faults {
    if !file.is_product() {
        return Faults::new();
    }
    let strays = CONFINED.iter().filter(|(name, homes)| {
        !homes.contains(&file.room.as_str()) && has_word(&file.code, &format!("{name}::"))
    });
    strays
        .map(|(name, homes)| format!("the crate `{name}` is confined to {homes:?}"))
        .collect()
}

fn banned_words(file: &Source) -> Faults {
    let mut faults = Faults::new();
    for word in BANNED_EVERYWHERE {
        if !file.path.starts_with("src/tidy") && has_word(&file.text, word) {
            faults.push(format!("`{word}` is banned: finish it, or file an issue"));
        }
    }
    if !file.is_product() {
        return faults;
    }
    let outside = file.code_without_tests();
    let everywhere = BANNED
        .iter()
        .map(|(word, homes)| (word, homes, file.code.as_str()));
    let outside = BANNED_OUTSIDE_TESTS
        .iter()
        .map(|(word, homes)| (word, homes, outside));
    for (word, homes, code) in everywhere.chain(outside) {
        if !homes.contains(&file.room.as_str()) && has_word(code, word) {
            faults.push(format!("`{word}` is banned here"));
        }
    }
    faults
}

fn text_and_head(file: &Source) -> Faults {
    let mut faults = Faults::new();
    if let Some(line) = file.text.lines().position(|line| !line.is_ascii()) {
        faults.push(format!("line {} is not ASCII", line + 1));
    }
    if !file.text.starts_with("//!") {
        faults.push("it has to begin with `//!`: what it is for".to_owned());
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!(
            "it has {lines} lines, {FILE_LINES_MAX} are allowed"
        ));
    }
    faults
}

fn long_functions(file: &Source) -> Faults {
    let mut faults = Faults::new();
    let listed = LONG_FUNCTIONS
        .iter()
        .filter(|(path, _, _)| *path == file.path);
    let long: Vec<(String, usize)> = functions(&file.code)
        .into_iter()
        .filter(|(_, lines)| *lines > FUNCTION_LINES_MAX)
        .collect();
    for (_, name, lines) in listed.clone() {
        match long
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, l)| *l)
            .max()
        {
            None => faults.push(format!("`{name}` is short now: take it off LONG_FUNCTIONS")),
            Some(now) if now < *lines => {
                faults.push(format!(
                    "`{name}` has {now} lines now: write that in LONG_FUNCTIONS"
                ));
            }
            Some(_) => {}
        }
    }
    for (name, lines) in long {
        let allowed = listed
            .clone()
            .find(|(_, n, _)| *n == name)
            .map(|(_, _, l)| *l);
        if lines > allowed.unwrap_or(FUNCTION_LINES_MAX) {
            faults.push(format!(
                "`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed"
            ));
        }
    }
    faults
}

/// Name and length in lines of every function with a body.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, keyword) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = &code[at + keyword.len()..];
        let Some(name) = first_word(rest) else {
            continue; // A type such as `fn (u32)`.
        };
        let Some(open) = body_start(rest) else {
            continue;
        };
        if let Some(length) = balanced(&rest[open..]) {
            let text = &rest[..open + length];
            found.push((name, text.matches('\n').count() + 1));
        }
    }
    found
}

/// Where the body of a function begins, if it has one. Generic constants are no blocks in this tree,
/// and a `;` inside brackets belongs to an array's type.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Length of the block that `code` begins with.
fn balanced(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unsafe_code(file: &Source) -> Faults {
    let listed = UNSAFE_FILES.contains(&file.path.as_str());
    match (has_word(&file.code, "unsafe"), listed) {
        (true, false) => return vec!["it holds `unsafe` and is not in UNSAFE_FILES".to_owned()],
        (false, true) => return vec!["it holds no `unsafe`: take it off UNSAFE_FILES".to_owned()],
        (false, false) => return Faults::new(),
        (true, true) => {}
    }
    let text: Vec<&str> = file.text.lines().collect();
    let mut faults = Faults::new();
    for (at, line) in file.code.lines().enumerate() {
        let opens = ["unsafe {", "unsafe impl"]
            .iter()
            .any(|what| has_word(line, what.trim_end()));
        let opens = opens || line.trim_end().ends_with("unsafe");
        let above = &text[at.saturating_sub(SAFETY_LINES_MAX)..=at];
        let said = above.iter().any(|line| line.contains("SAFETY:"));
        if opens && !said {
            faults.push(format!(
                "line {}: no `SAFETY:` comment above `unsafe`",
                at + 1
            ));
        }
    }
    faults
}

/// The text with every comment and literal turned to blanks; line ends stay.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let previous = code.chars().next_back();
        let length = literal_or_comment(rest, previous.is_some_and(is_word));
        if length == 0 {
            // Whatever is not ASCII is reported elsewhere and holds no code.
            code.push(if bytes[at].is_ascii() {
                bytes[at] as char
            } else {
                ' '
            });
            at += 1;
            continue;
        }
        let blank = rest[..length]
            .iter()
            .map(|b| if *b == b'\n' { '\n' } else { ' ' });
        code.extend(blank);
        at += length;
    }
    code
}

/// Length of the comment or literal that `rest` begins with; 0 when there is none.
fn literal_or_comment(rest: &[u8], in_word: bool) -> usize {
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        [b'\'', _, b'\'', ..] => 3,
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 2),
        _ => 0,
    }
}

/// Length up to and with the closing quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0; // A raw identifier.
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = prefix + hashes + 1;
    let close = rest[body..]
        .windows(end.len())
        .position(|window| window == end);
    close.map_or(rest.len(), |close| body + close + end.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn all_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "bench-harness"] {
        rust_files(&root.join(folder), &mut paths);
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
        Source::new(relative, &fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn assert_tidy(check: fn(&Source) -> Faults) {
    let sources = all_sources();
    assert!(sources.len() > 100, "the source tree was not found");
    let faults = sources.iter().flat_map(|file| {
        let path = file.path.clone();
        check(file)
            .into_iter()
            .map(move |fault| format!("{path}: {fault}"))
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn rooms_name_only_rooms_below_them() {
    assert_tidy(layering);
}

#[test]
fn crates_stay_where_they_belong() {
    assert_tidy(confined_crates);
}

#[test]
fn banned_words_are_not_used() {
    assert_tidy(banned_words);
}

#[test]
fn files_are_ascii_short_and_have_a_head() {
    assert_tidy(text_and_head);
}

#[test]
fn functions_are_short() {
    assert_tidy(long_functions);
    let sources = all_sources();
    for (path, name, _) in LONG_FUNCTIONS {
        assert!(
            sources.iter().any(|file| file.path == *path),
            "{path} with {name} is gone"
        );
    }
}

#[test]
fn unsafe_code_is_where_it_is_listed() {
    assert_tidy(unsafe_code);
    let sources = all_sources();
    for path in UNSAFE_FILES {
        assert!(
            sources.iter().any(|file| file.path == *path),
            "{path} is gone"
        );
    }
}

#[test]
fn the_top_of_the_tree_is_fixed() {
    let list = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let Some(list) = list.ok().filter(|list| list.status.success()) else {
        return; // Not a clone: then there is nobody who would add to it.
    };
    let list = String::from_utf8(list.stdout).unwrap();
    let tops = list
        .split_terminator('\0')
        .filter_map(|path| path.split('/').next());
    let strays: Vec<&str> = tops
        .filter(|top| !top.starts_with('.') && !TOP_LEVEL.contains(top))
        .collect();
    assert!(
        strays.is_empty(),
        "{strays:?} have no place at the top of the tree"
    );
}

/// Links of the documents to files of the tree.
#[test]
fn documents_link_to_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("README.md")];
    let docs = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|e| e == "md")));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            let target = document.parent().unwrap().join(link);
            let elsewhere = link.contains("://") || link.is_empty();
            assert!(
                elsewhere || target.exists(),
                "{}: no {link}",
                document.display()
            );
            links += 1;
        }
    }
    assert!(links > 5, "no links were found");
}

fn faults_of(check: fn(&Source) -> Faults, path: &str, text: &str) -> usize {
    check(&Source::new(path, text)).len()
}

#[test]
fn planted_edges_are_found() {
    let found = |path: &str, text: &str| faults_of(layering, path, text);
    assert_eq!(found("src/mqtt/a.rs", "use crate::base::ids::CoreId;"), 0);
    assert_eq!(found("src/mqtt/a.rs", "use crate::shard::Shard;"), 1);
    assert_eq!(
        found(
            "src/mqtt/a.rs",
            "use crate::{base::{ids, time}, gate, shard::x};"
        ),
        2
    );
    assert_eq!(
        found(
            "src/mqtt/a.rs",
            "// use crate::shard::Shard;\nlet x = \"crate::shard\";"
        ),
        0
    );
    assert_eq!(
        found("src/runtime/a.rs", "fn f() { crate::control::run() }"),
        1
    );
    assert_eq!(
        found("src/control/a.rs", "fn f() { crate::runtime::run() }"),
        1
    );
    assert_eq!(found("src/shard/a.rs", "fn f() { crate::ws::f() }"), 1);
    assert_eq!(found("src/garden/a.rs", ""), 1);
    assert_eq!(found("src/mqtt/mod.rs", "use super::shard;"), 1);
    assert_eq!(found("src/mqtt/tests/mod.rs", "use super::shard;"), 0);
    assert_eq!(
        found("src/boot/mod.rs", "use crate::{runtime, control, shard};"),
        0
    );
}

#[test]
fn planted_words_are_found() {
    let found = |path: &str, text: &str| faults_of(banned_words, path, text);
    assert_eq!(found("src/shard/a.rs", "let now = Instant::now();"), 1);
    assert_eq!(found("src/runtime/a.rs", "let now = Instant::now();"), 0);
    assert_eq!(found("src/shard/a.rs", "fn f() { todo!() }"), 1);
    assert_eq!(found("src/shard/a.rs", "use super::super::x;"), 1);
    assert_eq!(
        found("src/shard/a.rs", "use std::fs;\n#[cfg(test)]\nmod tests {}"),
        1
    );
    assert_eq!(
        found(
            "src/shard/a.rs",
            "f();\n#[cfg(test)]\nmod tests { use std::fs; }"
        ),
        0
    );
    assert_eq!(found("src/shard/tests.rs", "std::thread::sleep(x);"), 0);
    assert_eq!(found("bench-harness/src/a.rs", "// FIXME"), 1);
    let found = |path: &str, text: &str| faults_of(confined_crates, path, text);
    assert_eq!(found("src/shard/a.rs", "use glommio::Local;"), 1);
    assert_eq!(found("src/runtime/a.rs", "use glommio::Local;"), 0);
    assert_eq!(
        found("src/shard/a.rs", "use my_tokio::x; tokio_like::f();"),
        0
    );
    assert_eq!(found("src/runtime/a.rs", "use tokio::x;"), 1);
}

#[test]
fn planted_sizes_are_found() {
    let found = |text: &str| faults_of(text_and_head, "src/shard/a.rs", text);
    assert_eq!(found("//! A head.\n"), 0);
    assert_eq!(found("use x;\n"), 1);
    assert_eq!(found("//! A head.\n// \u{e9}\n"), 1);
    assert_eq!(found(&"//! A head.\n".repeat(FILE_LINES_MAX)), 0);
    assert_eq!(found(&"//! A head.\n".repeat(FILE_LINES_MAX + 1)), 1);
    let function = |lines: usize| {
        let body = "    x; // }\n".repeat(lines - 2);
        let text = format!("fn of(a: [u8; 2]) {{\n{body}}}\nfn next() {{}}\n");
        faults_of(long_functions, "src/shard/a.rs", &text)
    };
    assert_eq!(function(FUNCTION_LINES_MAX), 0);
    assert_eq!(function(FUNCTION_LINES_MAX + 1), 1);
}

#[test]
fn planted_unsafe_code_is_found() {
    let found = |path: &str, text: &str| faults_of(unsafe_code, path, text);
    assert_eq!(found("src/shard/a.rs", "unsafe { f() }"), 1);
    assert_eq!(
        found("src/shard/a.rs", "#![deny(unsafe_code)] // unsafe"),
        0
    );
    assert_eq!(
        found("src/boot/sys.rs", "// SAFETY: why\nunsafe { f() }"),
        0
    );
    assert_eq!(found("src/boot/sys.rs", "let x =\n    unsafe { f() };"), 1);
    assert_eq!(found("src/boot/sys.rs", "safe();"), 1);
}

#[test]
fn literals_and_comments_are_blanked() {
    for (text, code) in [
        ("a /* b /* c */ d */ e", "a                   e"),
        ("a \"b \\\" c\" d", "a          d"),
        ("r#\"a\"b\"# c", "         c"),
        ("'a' 'static '\\'' x", "    'static      x"),
        ("a // b\nc", "a     \nc"),
        ("b\"x\" br\"y\" z", "b          z"),
        ("r#type", "r#type"),
    ] {
        assert_eq!(code_of(text).trim_end(), code.trim_end(), "{text}");
    }
}
