//! stub
use crate::cli::PubsubArgs;
use crate::failure::Failure;
use crate::results::Report;
/// stub
pub fn run(_args: &PubsubArgs) -> Result<Report, Failure> {
    Failure::usage("not yet")
}
