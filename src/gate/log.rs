//! The log as the control plane commands it.

use crate::config::LogLevel;

/// What can be done with the log at run time.
pub trait LogControl: Send + Sync {
    /// The least severe level that is written.
    fn level(&self) -> LogLevel;

    /// Another one, until the process ends.
    ///
    /// # Errors
    /// A sentence.
    fn set_level(&self, level: LogLevel) -> Result<(), String>;
}
