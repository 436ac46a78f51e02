//! Reads what a configuration is made of: files, environment, arguments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::Arguments;
use crate::config::{ConfigError, InForce, Machine, Sources, TomlFile};

/// Changes that were made at run time, in the data directory.
pub(super) const OVERRIDES_FILE: &str = "overrides.toml";

/// The configuration that arguments, environment and files give on this machine.
pub fn load(arguments: &Arguments, machine: &Machine) -> Result<InForce, ConfigError> {
    let data_dir = data_dir(arguments)?;
    let sources = sources_with_overrides(arguments, &data_dir)?;
    InForce::at_start(&sources, machine)
}

/// All sources; the changes made at run time lie in the data directory.
pub(super) fn sources_with_overrides(
    arguments: &Arguments,
    data_dir: &Path,
) -> Result<Sources, ConfigError> {
    let mut sources = sources(arguments)?;
    let path = data_dir.join(OVERRIDES_FILE);
    sources.overrides = match read_toml(&path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&path, &error)),
    };
    Ok(sources)
}

/// The data directory that arguments, environment and file name.
pub fn data_dir(arguments: &Arguments) -> Result<PathBuf, ConfigError> {
    sources(arguments)?.data_dir()
}

/// All sources but the changes made at run time.
fn sources(arguments: &Arguments) -> Result<Sources, ConfigError> {
    let mut sources = Sources {
        environment: environment()?,
        set: arguments.set.clone(),
        options: arguments.options(),
        listen: arguments.listen.clone(),
        ..Sources::default()
    };
    if let Some(path) = &arguments.config {
        sources.file = Some(read_toml(path).map_err(|error| unreadable(path, &error))?);
    }
    Ok(sources)
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let shown = path.display();
    ConfigError::overall(format!(
        "the configuration file {shown} cannot be read: {error}"
    ))
}

fn read_toml(path: &Path) -> io::Result<TomlFile> {
    Ok(TomlFile {
        name: path.display().to_string(),
        text: fs::read_to_string(path)?,
    })
}

/// The environment; variables that are not UTF-8 are passed over unless they name a setting.
fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) if name.starts_with("MILLRACE_") => {
                let what = format!("environment variable {name}: the value is not UTF-8");
                return Err(ConfigError::overall(what));
            }
            Err(_) => {}
        }
    }
    Ok(variables)
}
