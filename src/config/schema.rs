//! Which settings there are: look-up of a name in the table of declarations, and what to say of a
//! name that is not in it.

use super::listener::{ListenerKind, is_listener_name};
use super::sections::SECTIONS;
use super::sections_access::ALIASES;
use super::setting::{Section, Setting};

/// The setting of that full name, or what to say of the name.
pub(crate) fn find(key: &str) -> Result<&'static Setting, String> {
    if let Some(refused) = refused_listener(key) {
        return Err(refused);
    }
    for section in SECTIONS {
        let Some(rest) = strip_section(section, key) else {
            continue;
        };
        if let Some(setting) = section.settings.iter().find(|setting| setting.key == rest) {
            return Ok(setting);
        }
    }
    Err(match nearest(key) {
        Some(near) => format!("there is no such setting; did you mean `{near}`?"),
        None => "there is no such setting; `broker --help` lists them all".to_owned(),
    })
}

/// The name under which a setting is declared: `key` itself, unless it is another name for one.
pub(crate) fn full(key: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == key);
    alias.map_or(key, |(_, full)| full)
}

/// Every setting with its section, in the order of the reference.
pub(crate) fn all() -> impl Iterator<Item = (&'static Section, &'static Setting)> {
    SECTIONS.iter().flat_map(|section| {
        section
            .settings
            .iter()
            .map(move |setting| (section, setting))
    })
}

/// The full names, as they are declared, of all settings that may change while the broker runs.
#[cfg(test)]
pub(crate) fn live_settings() -> impl Iterator<Item = String> {
    let live = all().filter(|(_, setting)| setting.change.is_live());
    live.map(|(section, setting)| section.full_name(setting))
}

/// Whether `key` is the beginning of settings' names that needs nothing below it.
pub(crate) fn is_group(key: &str) -> bool {
    let below = |prefix: &str| {
        let prefix = prefix.replace("<name>", "default");
        prefix == key
            || prefix
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    SECTIONS.iter().any(|section| below(section.prefix))
}

/// Whether `key` stands for numbered sections, which a list of tables may give.
pub(crate) fn is_list(key: &str) -> bool {
    let of_list = |section: &Section| section.prefix.strip_suffix(".<name>") == Some(key);
    !key.starts_with("listeners.") && SECTIONS.iter().any(of_list)
}

/// What is left of `key` after the section's prefix, where `<name>` fits any listener name.
fn strip_section<'k>(section: &Section, key: &'k str) -> Option<&'k str> {
    let mut rest = key;
    if section.prefix.is_empty() {
        return Some(rest);
    }
    for part in section.prefix.split('.') {
        let (given, behind) = rest.split_once('.')?;
        let fits = match part {
            "<name>" => is_listener_name(given),
            _ => given == part,
        };
        rest = fits.then_some(behind)?;
    }
    Some(rest)
}

/// Names no listener may have.
fn refused_listener(key: &str) -> Option<String> {
    let (kind, rest) = key.strip_prefix("listeners.")?.split_once('.')?;
    ListenerKind::named(kind)?;
    let (name, _) = rest.split_once('.')?;
    (!is_listener_name(name)).then(|| {
        format!("`{name}` cannot name a listener; use letters, digits, `_` and `-`, at most 32")
    })
}

/// The known name nearest to `key`, if one is near enough to be what was meant.
pub(crate) fn nearest(key: &str) -> Option<String> {
    let listener_name = key.split('.').nth(2).filter(|name| is_listener_name(name));
    let candidates = all().map(|(section, setting)| {
        let full_name = section.full_name(setting);
        full_name.replace("<name>", listener_name.unwrap_or("<name>"))
    });
    let scored = candidates.map(|name| (distance(key, &name), name));
    let (far, name) = scored.min()?;
    // A third of the name may be wrong; the right last part under the wrong section is meant as well.
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let same_last = all().find(|(_, setting)| Some(setting.key) == last(key).as_deref());
    match same_last {
        Some((section, setting)) if far * 3 > key.len() => Some(section.full_name(setting)),
        _ if far * 3 <= key.len().max(name.len()) => Some(name),
        _ => None,
    }
}

/// Edits (insert, delete, replace one character) from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid() {
        for (section, setting) in all() {
            let raw = crate::config::kind::Raw::Bare(setting.default.to_owned());
            let checked = setting.kind.check(&raw);
            assert_eq!(checked, Ok(()), "{}", section.full_name(setting));
        }
    }

    #[test]
    fn every_name_is_found_and_is_declared_once() {
        let mut names: Vec<String> = all()
            .map(|(section, setting)| section.full_name(setting).replace("<name>", "plant-1"))
            .collect();
        for name in &names {
            assert!(find(name).is_ok(), "{name}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn documentation_is_in_sentences() {
        for (section, setting) in all() {
            let doc = setting.doc.trim();
            let name = section.full_name(setting);
            assert!(doc.ends_with('.') || doc.ends_with(".)"), "{name}: {doc}");
            assert!(!setting.default.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        for (wrong, right) in [
            ("mqtt.max_paket_size", "mqtt.max_packet_size"),
            ("mqtt.max_inflights", "mqtt.max_inflight"),
            ("node.core", "node.cores"),
            ("loglevel", "log.level"),
            (
                "mqtt.max_retained_messages",
                "retainer.max_retained_messages",
            ),
            ("zone.external.max_mqueue_len", "mqtt.max_mqueue_len"),
            ("listeners.tcp.plant.bnd", "listeners.tcp.plant.bind"),
        ] {
            assert_eq!(nearest(wrong).as_deref(), Some(right), "{wrong}");
        }
        assert_eq!(nearest("bridges.kafka.broker"), None);
        assert_eq!(nearest("x"), None);
    }

    #[test]
    fn wrong_names_of_listeners_say_so() {
        let said = find("listeners.tcp.a b.bind").err().unwrap_or_default();
        assert!(said.starts_with("`a b` cannot name a listener"), "{said}");
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
