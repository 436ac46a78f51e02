//! Settings of the kernel: the table of `tuning/sysctl.sh`, swap, overcommit, huge pages.

use std::fs;

use super::Finding;

/// The script whose table is read.
const SCRIPT: &str = include_str!("../../../tuning/sysctl.sh");
/// Where its table begins and ends.
const TABLE: (&str, &str) = ("cat <<END\n", "\nEND\n");
/// What changes a setting.
const FIX: &str = "`tuning/sysctl.sh --apply`, and --print for after the next boot";
const PAGE_BYTES: u64 = 4096;
/// `vm.overcommit_memory` at which reserved memory counts as used.
const OVERCOMMIT_NEVER: &str = "2";

/// A wanted setting.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    key: &'static str,
    rule: Rule,
    value: String,
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Each number at least so high.
    Min,
    /// Exactly so.
    Set,
    /// Each number at most so high.
    Max,
}

/// Looks at all of them.
pub(super) fn examine() -> Vec<Finding> {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let pages = total_pages(&memory);
    let mut all: Vec<Finding> = table(pages)
        .iter()
        .map(|wanted| {
            let path = format!("/proc/sys/{}", wanted.key.replace('.', "/"));
            judge(wanted, fs::read_to_string(path).ok().as_deref())
        })
        .collect();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    all.push(swap(&read("/proc/swaps")));
    all.push(overcommit(&read("/proc/sys/vm/overcommit_memory")));
    all.push(huge_pages(&read(
        "/sys/kernel/mm/transparent_hugepage/enabled",
    )));
    all
}

/// The machine's memory in pages, the unit of tcp_mem.
fn total_pages(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 / PAGE_BYTES
}

/// The script's table; `$((pages / 8))` and the like are computed.
fn table(pages: u64) -> Vec<Wanted> {
    let table = SCRIPT.split_once(TABLE.0).map(|(_, rest)| rest);
    let table = table.and_then(|rest| rest.split_once(TABLE.1));
    let lines = table.map_or("", |(table, _)| table).lines();
    lines.filter_map(|line| wanted(line, pages)).collect()
}

fn wanted(line: &'static str, pages: u64) -> Option<Wanted> {
    let mut parts = line.splitn(4, '|');
    let (key, rule, value, reason) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let rule = match rule {
        "min" => Rule::Min,
        "set" => Rule::Set,
        "max" => Rule::Max,
        _ => return None,
    };
    let mut computed = value.to_owned();
    while let Some((before, rest)) = computed.split_once("$((pages / ") {
        let (divisor, after) = rest.split_once("))")?;
        let share = pages.checked_div(divisor.parse().ok()?)?;
        computed = format!("{before}{share}{after}");
    }
    Some(Wanted {
        key,
        rule,
        value: computed,
        reason,
    })
}

fn judge(wanted: &Wanted, is: Option<&str>) -> Finding {
    let Some(is) = is else {
        return Finding::ok(wanted.key, "this kernel does not have it");
    };
    let is = is.split_whitespace().collect::<Vec<_>>().join(" ");
    match holds(wanted.rule, &is, &wanted.value) {
        true => Finding::ok(wanted.key, is),
        false => {
            let (value, reason) = (&wanted.value, wanted.reason);
            let found = format!("it is {is}, wanted: {value} ({reason})");
            Finding::warning(wanted.key, found, FIX)
        }
    }
}

fn holds(rule: Rule, is: &str, wanted: &str) -> bool {
    if rule == Rule::Set {
        return is == wanted;
    }
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let mut is = is.split(' ');
    wanted.split(' ').all(|wanted| {
        let (is, wanted) = (number(is.next()), number(Some(wanted)));
        match rule {
            Rule::Min => is >= wanted,
            _ => is <= wanted,
        }
    })
}

fn swap(swaps: &str) -> Finding {
    // The first line is a heading.
    match swaps.lines().nth(1) {
        None => Finding::ok("swap", "there is none"),
        Some(_) => Finding::warning(
            "swap",
            "a core that waits for a page from disk keeps all its connections waiting",
            "`swapoff -a`, and remove it from /etc/fstab",
        ),
    }
}

fn overcommit(mode: &str) -> Finding {
    let check = "vm.overcommit_memory";
    match mode.trim() {
        OVERCOMMIT_NEVER => Finding::warning(
            check,
            "it is 2: tables that are reserved and not filled count as used",
            "`sysctl vm.overcommit_memory=0`",
        ),
        mode => Finding::ok(check, mode),
    }
}

fn huge_pages(mode: &str) -> Finding {
    let found = match mode.contains("[always]") {
        true => "always; the broker does without them in its own memory",
        false => mode.trim(),
    };
    Finding::ok("transparent huge pages", found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::doctor::Level;

    #[test]
    fn the_script_has_a_table_that_is_understood() {
        let table = table(8000);
        let lines = SCRIPT.lines().filter(|line| {
            let rule = line.split('|').nth(1);
            rule.is_some_and(|rule| ["min", "set", "max"].contains(&rule))
        });
        assert_eq!(table.len(), lines.count());
        let of = |key: &str| table.iter().find(|wanted| wanted.key == key).unwrap();
        assert_eq!(of("net.ipv4.tcp_mem").value, "1000 2000 4000");
        for key in [
            "net.core.somaxconn",
            "net.ipv4.tcp_max_syn_backlog",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_wmem",
            "fs.nr_open",
            "fs.file-max",
            "net.netfilter.nf_conntrack_max",
            "vm.swappiness",
        ] {
            of(key);
        }
    }

    #[test]
    fn each_rule_holds_or_not() {
        assert!(holds(
            Rule::Min,
            "4096 200000 7000000",
            "4096 131072 6291456"
        ));
        assert!(!holds(Rule::Min, "4096 200000 5", "4096 131072 6291456"));
        assert!(holds(Rule::Max, "0", "1") && !holds(Rule::Max, "60", "1"));
        assert!(holds(Rule::Set, "1024 65535", "1024 65535"));
        assert!(!holds(Rule::Set, "32768 60999", "1024 65535"));
        // What is more than a number can be, such as fs.file-max without a limit.
        assert!(holds(Rule::Min, "9223372036854775807", "4194304"));
    }

    #[test]
    fn what_is_missing_names_its_fix() {
        let table = table(8000);
        let finding = judge(&table[0], Some("128\n"));
        assert_eq!(finding.level, Level::Warning);
        assert!(
            finding.found.starts_with("it is 128, wanted: 32768"),
            "{finding:?}"
        );
        assert!(finding.fix.unwrap().contains("tuning/sysctl.sh"));
        assert_eq!(judge(&table[0], Some("65536\n")).level, Level::Ok);
        assert_eq!(judge(&table[0], None).level, Level::Ok);
    }

    #[test]
    fn swap_and_overcommit_are_seen() {
        let heading = "Filename Type Size Used Priority\n";
        assert_eq!(swap(heading).level, Level::Ok);
        let on = format!("{heading}/swapfile file 1 0 -2\n");
        assert_eq!(swap(&on).level, Level::Warning);
        assert_eq!(overcommit("2\n").level, Level::Warning);
        assert_eq!(overcommit("0\n").level, Level::Ok);
    }
}
