//! `broker doctor`: what of this machine is not as a broker under load wants it, with what to do.
//!
//! What is required is what the start and `--check` require: [`preflight`]'s checks and those of
//! access rules, data directory and certificates. The rest are warnings: limits, kernel settings (the
//! table of `tuning/sysctl.sh`, read as it stands), swap, overcommit, clock.

pub mod certificates;
mod kernel;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::boot::{Refusal, access, preflight, settle, tls};
use crate::cli::Arguments;
use crate::config::{Config, Machine};
use crate::control::http::serve::socket;

/// Open files a broker with a million connections wants, as `tuning/limits.conf` sets it.
const DESCRIPTORS_WANTED: u64 = 1_048_576;
/// A clock before 2024 was never set.
const CLOCK_MIN_S: u64 = 1_704_067_200;
/// A clock in 2100 or later is wrong.
const CLOCK_MAX_S: u64 = 4_102_444_800;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// A broker runs, but not as well as it could.
    Warning,
    /// A broker does not start.
    Failed,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub level: Level,
    /// What was looked at.
    pub check: String,
    /// What is so.
    pub found: String,
    /// What to do; what a failed check has to say about that stands in `found`.
    pub fix: Option<String>,
}

impl Finding {
    fn ok(check: &str, found: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            check: check.to_owned(),
            found: found.into(),
            fix: None,
        }
    }

    fn warning(check: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            check: check.to_owned(),
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    fn required(outcome: preflight::Outcome) -> Self {
        let (level, found) = match outcome {
            Ok(found) => (Level::Ok, found),
            Err(sentence) => (Level::Failed, sentence),
        };
        Self {
            level,
            check: "required".to_owned(),
            found,
            fix: None,
        }
    }

    /// As [`preflight`] says it.
    pub(crate) fn outcome(self) -> preflight::Outcome {
        let sentence = match self.fix {
            Some(fix) => format!("{}: {}; {fix}", self.check, self.found),
            None => format!("{}: {}", self.check, self.found),
        };
        match self.level {
            Level::Failed => Err(sentence),
            Level::Ok | Level::Warning => Ok(sentence),
        }
    }

    fn line(&self) -> String {
        let fix = self.fix.as_ref().map(|fix| format!("; {fix}"));
        let (level, check) = (self.level.word(), &self.check);
        format!(
            "{level}: {check}: {}{}",
            self.found,
            fix.unwrap_or_default()
        )
    }
}

/// What all checks found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// In the order of the checks.
    pub all: Vec<Finding>,
}

impl Findings {
    /// Whether nothing that is required is missing.
    pub fn ok(&self) -> bool {
        self.count(Level::Failed) == 0
    }

    fn count(&self, level: Level) -> usize {
        let with = self.all.iter().filter(|finding| finding.level == level);
        with.count()
    }

    /// One line a check, and one that counts.
    pub fn to_text(&self) -> String {
        let mut lines: Vec<String> = self.all.iter().map(Finding::line).collect();
        lines.push(format!(
            "{} ok, {} warnings, {} failed",
            self.count(Level::Ok),
            self.count(Level::Warning),
            self.count(Level::Failed)
        ));
        lines.join("\n")
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let checks = self.all.iter().map(|finding| {
            json!({
                "result": finding.level.word(),
                "check": finding.check,
                "found": finding.found,
                "fix": finding.fix,
            })
        });
        json!({ "ok": self.ok(), "checks": checks.collect::<Vec<_>>() })
    }
}

/// Looks at everything.
pub fn examine(arguments: &Arguments) -> Findings {
    // Before the soft limit is raised, as the start does.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let now_s = unix_s();
    let mut all = match settle(arguments) {
        Ok((config, machine, facts)) => {
            let mut all = of_configuration(&config, &facts, now_s);
            all.push(cores(&config, &machine));
            let warnings = config.warnings(&machine).into_iter();
            all.extend(warnings.map(|warning| Finding::warning("configuration", warning, ADVICE)));
            all
        }
        Err(Refusal { sentences }) => {
            let sentences = sentences.into_iter();
            sentences
                .map(|sentence| Finding::required(Err(sentence)))
                .collect()
        }
    };
    all.push(descriptors(&limits));
    all.push(clock(now_s));
    all.extend(kernel::examine());
    Findings { all }
}

const ADVICE: &str = "docs/configuration.md has every setting";

/// What the start requires. Of a broker that runs with this data directory its addresses are not
/// free, and that is well.
fn of_configuration(config: &Config, facts: &preflight::Facts, now_s: u64) -> Vec<Finding> {
    let data_dir = &config.node.data_dir;
    let mut outcomes = vec![Ok("the configuration is valid".to_owned())];
    outcomes.extend(tls::check(config));
    outcomes.extend(access::check(config));
    if is_running(data_dir) {
        outcomes.extend(preflight::outcomes_of_machine(config, facts));
        outcomes.push(Ok(format!(
            "a broker runs with the data directory {}; whether its addresses are free was not \
             looked at",
            data_dir.display()
        )));
    } else {
        outcomes.extend(preflight::outcomes(config, facts));
        outcomes.push(preflight::check_data_dir(data_dir));
    }
    let required = outcomes.into_iter().map(Finding::required);
    required
        .chain(certificates::examine(config, now_s))
        .collect()
}

fn is_running(data_dir: &Path) -> bool {
    UnixStream::connect(data_dir.join(socket::FILE)).is_ok()
}

fn cores(config: &Config, machine: &Machine) -> Finding {
    let (cores, cpus) = (config.sizing.cores, machine.cpus);
    match cores <= cpus {
        true => Finding::ok("cores", format!("{cores} cores on {cpus} CPUs")),
        false => Finding::warning(
            "cores",
            format!("{cores} cores on {cpus} CPUs take turns, which costs latency"),
            "set node.cores (--cores) to at most that, or leave it out",
        ),
    }
}

fn descriptors(limits: &str) -> Finding {
    let check = "nofile";
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.unwrap_or_default().split_whitespace();
    let (Some(soft), Some(hard)) = (words.next(), words.next()) else {
        return Finding::warning(check, "the limit cannot be read", "mount /proc");
    };
    let found = format!("open files: soft limit {soft} (raised at the start), hard limit {hard}");
    match hard.parse::<u64>() {
        Ok(hard) if hard < DESCRIPTORS_WANTED => Finding::warning(
            check,
            found,
            format!(
                "a million connections want {DESCRIPTORS_WANTED}: LimitNOFILE= in \
                 scripts/packaging/millrace.service, or tuning/limits.conf, or docker --ulimit nofile="
            ),
        ),
        // Unlimited is a word.
        _ => Finding::ok(check, found),
    }
}

fn clock(now_s: u64) -> Finding {
    match (CLOCK_MIN_S..CLOCK_MAX_S).contains(&now_s) {
        true => Finding::ok(
            "clock",
            "the year is plausible (whether NTP keeps the clock right was not looked at)",
        ),
        false => Finding::warning(
            "clock",
            format!("{now_s} seconds after 1970 is not now"),
            "set the clock, and let NTP keep it: expiry, bans, certificates and tokens go by it",
        ),
    }
}

pub(crate) fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_judged() {
        let of = |soft: &str, hard: &str| {
            descriptors(&format!(
                "Limit Soft Hard Units\nMax open files            {soft}   {hard}    files\n"
            ))
        };
        assert_eq!(of("1024", "4096").level, Level::Warning);
        assert!(of("1024", "4096").line().contains("LimitNOFILE"));
        assert_eq!(of("1024", "1048576").level, Level::Ok);
        assert_eq!(of("1024", "unlimited").level, Level::Ok);
        assert_eq!(descriptors("").level, Level::Warning);
    }

    #[test]
    fn the_clock_is_plausible_or_not() {
        assert_eq!(clock(0).level, Level::Warning);
        assert_eq!(clock(1_795_000_000).level, Level::Ok);
        assert_eq!(clock(CLOCK_MAX_S).level, Level::Warning);
    }

    #[test]
    fn only_what_is_required_fails() {
        let mut findings = Findings {
            all: vec![Finding::ok("a", "b"), Finding::warning("c", "d", "e")],
        };
        assert!(findings.ok());
        let text = "ok: a: b\nwarning: c: d; e\n1 ok, 1 warnings, 0 failed";
        assert_eq!(findings.to_text(), text);
        findings.all.push(Finding::required(Err("no".to_owned())));
        assert!(!findings.ok());
        assert_eq!(findings.to_json()["checks"][2]["result"], "failed");
    }
}
