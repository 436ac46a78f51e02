//! Help and reference, generated from the declarations.

use std::fmt::Write;

use super::schema;
use super::sections::SECTIONS;

/// The head of `docs/configuration.md`.
const HEAD: &str = "\
# Configuration

<!-- Generated from src/config/sections.rs; do not edit. To write it anew:
     MILLRACE_WRITE_DOCS=1 cargo test --lib config::reference -->

Every setting has a default, so the broker runs without any configuration. A value is taken from,
in rising precedence:

1. its default;
2. the TOML file of `--config FILE`;
3. `overrides.toml` in the data directory, if it exists (*live* settings only);
4. the environment: `MILLRACE_` and the name in capitals, with `__` for each dot, such as
   `MILLRACE_MQTT__MAX_PACKET_SIZE=256KB`;
5. `--set KEY=VALUE`, such as `--set mqtt.max_packet_size=256KB`;
6. the options `--cores`, `--data-dir` and `--listen KIND://ADDR:PORT`.

An unknown name or a value that does not fit is an error: the broker says where it stands and what is
wrong with it, and exits with code 2. `broker --check` says so without starting.

Sizes are written as `512`, `256KB`, `1MB`, `2GB` (1KB is 1024 bytes); durations as `250ms`, `15s`, `5m`,
`2h`, `1d` or together, `1h30m`; rates as `1000/s`. In TOML, whatever has a unit stands in quotes.

Each setting says when a change of it takes effect. *live*: while the broker runs. *live, for new
connections*: while the broker runs, for clients that connect from then on; who is connected keeps what
it was told, or what holds since its CONNECT. *start*: when the broker is started again.

Three things change live settings, and none of them touches a connection:

- `broker ctl conf reload`, SIGHUP, or `POST /api/v5/configs_reload` read the file (and that of the
  access rules) again. They say what is another than before and what needs a start. A wrong file is
  refused with its line and the name of the setting, and nothing changes.
- `PUT /api/v5/configs/{section}` changes some, such as `{\"max_inflight\": 64}` of `mqtt`. That is kept in
  `overrides.toml` in the data directory.

Listeners cannot be added or removed while the broker runs; limits and rates of those that are there can
be changed.

```toml
[node]
cores = 16
data_dir = \"/var/lib/millrace\"

[listeners.tcp.default]
bind = \"0.0.0.0:1883\"

[mqtt]
max_packet_size = \"256KB\"
allow_anonymous = false
```
";

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        let prefix = match section.prefix {
            "" => "authentication",
            prefix => prefix,
        };
        push(
            &mut out,
            format_args!("\n## {}\n\n{}\n", prefix, paragraph(section.doc)),
        );
        for setting in section.settings {
            let change = setting.change.word();
            push(
                &mut out,
                format_args!(
                    "\n### `{}`\n\n- Type: {}\n- Default: `{}`\n- Change: *{change}*\n\n{}\n",
                    section.full_name(setting),
                    setting.kind.describe(),
                    setting.default,
                    paragraph(setting.doc),
                ),
            );
        }
    }
    out
}

/// The list of all settings for `broker --help`.
pub fn help() -> String {
    let mut out = String::from("Settings (for --set, the file of --config, or the environment):\n");
    for (section, setting) in schema::all() {
        push(
            &mut out,
            format_args!(
                "\n  {} = {}\n      [{}]\n{}",
                section.full_name(setting),
                setting.default,
                setting.kind.describe(),
                wrapped(&paragraph(setting.doc), 6, 98),
            ),
        );
    }
    out
}

/// The lines of a doc comment as one paragraph.
fn paragraph(doc: &str) -> String {
    let words: Vec<&str> = doc.split_whitespace().collect();
    words.join(" ")
}

/// A paragraph in lines of at most `width` characters, each indented.
fn wrapped(paragraph: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in paragraph.split(' ') {
        if column == 0 || column + 1 + word.len() > width {
            if column > 0 {
                out.push('\n');
            }
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    assert!(written.is_ok(), "writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, TomlFile};

    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("MILLRACE_WRITE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == reference(),
            "docs/configuration.md is not what the declarations say; write it anew with\n\
             MILLRACE_WRITE_DOCS=1 cargo test --lib config::reference"
        );
    }

    #[test]
    fn the_example_is_a_valid_configuration() {
        let (_, after) = HEAD.split_once("```toml").unwrap();
        let (example, _) = after.split_once("```").unwrap();
        let sources = Sources {
            file: Some(TomlFile {
                name: "example".to_owned(),
                text: example.to_owned(),
            }),
            ..Sources::default()
        };
        let values = sources.collect().unwrap();
        assert!(values.origin("mqtt.allow_anonymous").is_some());
    }

    #[test]
    fn help_names_every_setting_in_short_lines() {
        let help = help();
        for (section, setting) in schema::all() {
            assert!(help.contains(&section.full_name(setting)));
        }
        for line in help.lines() {
            assert!(line.len() <= 100, "{line}");
        }
    }
}
