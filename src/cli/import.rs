//! Configurations of other brokers as one of this broker: texts in, a text and notes out.
//!
//! - [`sheet`]: what is carried over, and what is not and why
//! - [`emqx`]: the flat files of EMQX 4; [`emqx_access`]: those of its plugins for users and rules
//! - [`mosquitto`]: `mosquitto.conf`; [`mosquitto_access`]: its files of users and rules
//!
//! Whatever is written is a configuration that this broker takes: each value is tried, and one that does
//! not fit is noted instead.

pub mod emqx;
mod emqx_access;
mod emqx_listeners;
mod emqx_settings;
pub mod mosquitto;
mod mosquitto_access;
pub mod sheet;

use std::path::PathBuf;

/// What is to be imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// From whom.
    pub from: From,
    /// The configuration file.
    pub file: PathBuf,
    /// EMQX: the file of access rules.
    pub acl: Option<PathBuf>,
    /// EMQX: the directory with the plugins' files.
    pub plugins: Option<PathBuf>,
    /// Where the new configuration goes.
    pub out: PathBuf,
    /// Whether files that are there are replaced.
    pub force: bool,
}

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum From {
    /// EMQX 4.
    #[default]
    Emqx,
    /// Mosquitto.
    Mosquitto,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its name, as notes should give it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The configuration.
    pub toml: String,
    /// Files that it names, by the ending of their names: `users.csv`, `acl.conf`.
    pub files: Vec<(&'static str, String)>,
    /// What was not carried over, a line each.
    pub lost: Vec<String>,
    /// What is not needed here, a line each.
    pub needless: Vec<String>,
}
