//! Settings as the control plane sees and changes them.

use std::sync::Arc;

use serde_json::Value;

use crate::config::{Changed, Config};
use crate::gate::tls::TlsReloaded;

/// Why settings stay as they are; nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// A file, or what was asked for, is wrong: a sentence each, with file, line and key where there
    /// is one.
    Wrong(Vec<String>),
    /// It cannot be kept, or cores do not take it.
    Failed(String),
}

/// What can be done with settings at run time. Each call but [`Self::config`] waits for the disk and for
/// the cores, for at most some seconds: not to be made where that holds anything up.
pub trait SettingsControl: Send + Sync {
    /// The settings in force.
    fn config(&self) -> Arc<Config>;

    /// Reads the configuration file and the file of access rules again. Says what is another than it
    /// was in force.
    ///
    /// # Errors
    /// Something is wrong; everything stays as it was.
    fn reload(&self) -> Result<Vec<Changed>, Unchanged>;

    /// Changes settings of a section, as an object of them says, and keeps that over restarts. An empty
    /// name stands for all sections.
    ///
    /// # Errors
    /// Something is wrong; everything stays as it was.
    fn change(&self, section: &str, body: &Value) -> Result<Vec<Changed>, Unchanged>;

    /// Reads certificates, keys and revocation lists of all TLS listeners again. Connections stay. A
    /// listener whose files are wrong stays as it was.
    ///
    /// # Errors
    /// Nobody answers.
    fn reload_certificates(&self) -> Result<TlsReloaded, Unchanged>;
}
