//! Why a run could not be made.

use std::fmt;
use std::io;

/// A run that did not come to a result.
#[derive(Debug)]
pub enum Failure {
    /// The options contradict each other or the machine; exit code 2.
    Usage(String),
    /// The system or the broker refused something the run cannot do without; exit code 1.
    Io(String, io::Error),
    /// The broker did not do what the run needs; exit code 1.
    Broker(String),
}

impl Failure {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Io(..) | Self::Broker(_) => 1,
        }
    }

    pub(crate) fn usage<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Usage(text.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Broker(text) => f.write_str(text),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Says what was tried when an I/O call failed.
pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::Io(what.into(), error))
    }
}
