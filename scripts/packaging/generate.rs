//! Writes the man page and the completions for shells of `broker` into the folders `man` and `completions`
//! of a folder. Not part of the program, which need not carry what is needed once.
#![allow(
    clippy::print_stderr,
    reason = "tells whoever packs what could not be written"
)]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use millrace::{cli, ctl};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: generate FOLDER");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &OsString) -> io::Result<()> {
    let folder = Path::new(folder);
    let completions = folder.join("completions");
    let pages = folder.join("man");
    fs::create_dir_all(&completions)?;
    fs::create_dir_all(&pages)?;
    let command = whole();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), "broker", &completions)?;
    }
    fs::write(pages.join("broker.1"), page(command)?)
}

/// The command line with the commands of `ctl`, which the program reads by itself.
fn whole() -> Command {
    let mut tool = Command::new("ctl");
    for (words, about) in ctl::commands::COMMANDS {
        tool = with(tool, words, about);
    }
    let command = cli::command().name("broker").bin_name("broker");
    command.mut_subcommand("ctl", |ctl| {
        let ctl = ctl.mut_arg("words", |words| words.hide(true));
        ctl.subcommands(tool.get_subcommands().cloned())
    })
}

/// Adds one command of the list, such as `listeners start|stop <Id>`.
fn with(tool: Command, words: &str, about: &str) -> Command {
    let mut words = words.split(' ').map(|word| word.trim_matches(['[', ']']));
    let group = words.next().unwrap_or_default().to_owned();
    let mut parent = match tool.find_subcommand(&group) {
        Some(known) => known.clone(),
        None => Command::new(group.clone()),
    };
    let rest: Vec<&str> = words.collect();
    match rest.split_first() {
        // A command of one word, or one whose second word is a name.
        None => parent = parent.about(about.to_owned()),
        Some((verbs, values)) if !verbs.starts_with('<') => {
            for verb in verbs.split('|').filter(|verb| !verb.is_empty()) {
                // Of `log handlers list` and `log handlers set-level <Id>` the first says what it is about.
                if parent.find_subcommand(verb).is_some() {
                    continue;
                }
                let mut verb = Command::new(verb.to_owned()).about(about.to_owned());
                for (number, value) in values.iter().enumerate() {
                    verb = verb.arg(value_of(number, value));
                }
                parent = parent.subcommand(verb);
            }
        }
        Some(_) => parent = parent.about(about.to_owned()),
    }
    let others = tool.get_subcommands().filter(|c| c.get_name() != group);
    Command::new("ctl").subcommands(others.cloned().chain([parent]))
}

/// A value, or one of several words.
fn value_of(number: usize, word: &str) -> Arg {
    let bare = word.trim_matches(['<', '>']).to_owned();
    let arg = Arg::new(format!("{number}")).value_name(bare.clone());
    let is_choice = !word.contains('<') && bare.contains('|');
    match is_choice {
        true => {
            let choices: Vec<String> = bare.split('|').map(str::to_owned).collect();
            arg.value_parser(PossibleValuesParser::new(choices))
        }
        false => arg,
    }
}

/// One page for the program and its sub-commands.
fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone()).section("1").manual("Millrace");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    section(&mut page, "SUB-COMMANDS");
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        entry(&mut page, &format!("broker {}", sub.get_name()), sub);
        for option in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = option.get_long() else {
                continue;
            };
            let help = option.get_help().map(ToString::to_string);
            line(&mut page, &format!("--{long}"), &help.unwrap_or_default());
        }
    }
    section(&mut page, "COMMANDS OF CTL");
    for (words, about) in ctl::commands::COMMANDS {
        line(&mut page, words, about);
    }
    section(&mut page, "EXIT CODES");
    for (code, means) in [
        ("0", "done, or stopped in order"),
        (
            "1",
            "a failure while running, or a sub-command that was not done",
        ),
        (
            "2",
            "usage, configuration, or a machine that lacks something",
        ),
    ] {
        line(&mut page, code, means);
    }
    section(&mut page, "SIGNALS");
    for (signal, means) in [
        (
            "SIGTERM, SIGINT",
            "stop in order; a second one ends at once",
        ),
        ("SIGHUP", "read certificates and access rules again"),
        ("SIGUSR1", "print the sizes of the tables and all counters"),
    ] {
        line(&mut page, signal, means);
    }
    Ok(page)
}

fn section(page: &mut Vec<u8>, title: &str) {
    page.extend(format!(".SH \"{title}\"\n").bytes());
}

fn entry(page: &mut Vec<u8>, name: &str, command: &Command) {
    let about = command.get_about().map(ToString::to_string);
    line(page, name, &about.unwrap_or_default());
}

fn line(page: &mut Vec<u8>, term: &str, text: &str) {
    page.extend(format!(".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(text)).bytes());
}

/// Text that begins no request and ends in no escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}
