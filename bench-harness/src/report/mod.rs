//! `report`: results of any kind as one self-contained HTML page, with plots.

mod charts;
mod page;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::failure::{Context, Failure};

/// Options of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Results as other sub-commands write them.
    #[arg(required = true, value_name = "RESULT.json")]
    pub results: Vec<PathBuf>,
    /// The page.
    #[arg(long, short, default_value = "report.html")]
    pub out: PathBuf,
    /// Its title.
    #[arg(long, default_value = "Millrace: measurements")]
    pub title: String,
}

/// Reads results and writes the page.
///
/// # Errors
/// A file that cannot be read or written, or is no result.
#[allow(clippy::print_stdout)] // Where the page is, is the program's output.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let results: Result<Vec<Value>, Failure> = args.results.iter().map(|p| read(p)).collect();
    let page = page::page(&args.title, &results?);
    fs::write(&args.out, page).context(format!("cannot write {}", args.out.display()))?;
    println!("written to {}", args.out.display());
    Ok(())
}

fn read(path: &Path) -> Result<Value, Failure> {
    let text = fs::read_to_string(path).context(format!("cannot read {}", path.display()))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    if value["scenario"].is_string() && value["measured"].is_object() {
        Ok(value)
    } else {
        Failure::usage(format!("{} is no result", path.display()))
    }
}

/// The page of one result.
pub(crate) fn page_of(result: &Value) -> String {
    let title = result["scenario"].as_str().unwrap_or("result");
    page::page(title, std::slice::from_ref(result))
}
