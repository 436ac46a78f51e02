//! Topic names, filters and matching: section 4.7 and 4.8.2.

use super::assert_error;
use crate::mqtt::topic::{
    SharedFilter, TopicFilter, TopicName, is_shared, is_within_levels, level_count, topic_matches,
};
use proptest::prelude::*;

#[test]
fn names() {
    for good in [
        "a",
        "/",
        "//",
        "/a",
        "a/",
        " ",
        "$SYS/x",
        "Accounts payable",
        "\u{feff}",
        "\u{e4}/\u{1F600}",
    ] {
        assert_eq!(TopicName::new(good).unwrap().as_str(), good);
    }
    let longest = "x".repeat(65_535);
    assert!(TopicName::new(&longest).is_ok());
    let too_long = "x".repeat(65_536);
    for (bad, rule) in [
        ("", "MQTT-4.7.3-1"),
        ("a\0", "MQTT-4.7.3-2"),
        ("+", "MQTT-4.7.0-1"),
        ("a/#", "MQTT-4.7.0-1"),
        (&too_long, "MQTT-4.7.3-3"),
    ] {
        assert_error(TopicName::new(bad), 0x90, rule, bad.as_bytes());
    }
}

#[test]
fn filters() {
    for good in [
        "#",
        "+",
        "/",
        "/+",
        "+/+",
        "a/#",
        "/#",
        "+/#",
        "sport/+/player1",
        "+/tennis/#",
        "$SYS/#",
    ] {
        assert_eq!(TopicFilter::new(good).unwrap().as_str(), good);
    }
    for (bad, rule) in [
        ("", "MQTT-4.7.3-1"),
        ("sport/tennis#", "MQTT-4.7.1-1"),
        ("sport/tennis/#/ranking", "MQTT-4.7.1-1"),
        ("#/", "MQTT-4.7.1-1"),
        ("##", "MQTT-4.7.1-1"),
        ("+#", "MQTT-4.7.1-1"),
        ("sport+", "MQTT-4.7.1-2"),
        ("a/+b/c", "MQTT-4.7.1-2"),
        ("++", "MQTT-4.7.1-2"),
        ("a/\0", "MQTT-4.7.3-2"),
    ] {
        assert_error(TopicFilter::new(bad), 0x8F, rule, bad.as_bytes());
    }
    assert!(TopicFilter::new("a/+").unwrap().has_wildcard());
    assert!(!TopicFilter::new("a/b").unwrap().has_wildcard());
}

#[test]
fn shares() {
    for (full, group, filter) in [
        ("a/b", None, "a/b"),
        ("$share/g/a/#", Some("g"), "a/#"),
        ("$share/g//", Some("g"), "/"),
        ("$share/consumer1//finance", Some("consumer1"), "/finance"),
        ("$queue/a", Some("$queue"), "a"),
        ("$queue//", Some("$queue"), "/"),
        ("$queue", None, "$queue"),
        ("$share", None, "$share"),
        ("$shared/g/a", None, "$shared/g/a"),
        ("$SHARE/g/a", None, "$SHARE/g/a"),
    ] {
        let parsed = SharedFilter::parse(full).unwrap();
        assert_eq!(
            (parsed.group, parsed.filter.as_str()),
            (group, filter),
            "{full}"
        );
        assert_eq!(is_shared(full), group.is_some());
    }
    for (bad, rule) in [
        ("$share/", "MQTT-4.8.2-2"),
        ("$share/g", "MQTT-4.8.2-2"),
        ("$share/g/", "MQTT-4.7.3-1"),
        ("$share//a", "MQTT-4.8.2-1"),
        ("$share/+/a", "MQTT-4.8.2-2"),
        ("$share/g#/a", "MQTT-4.8.2-2"),
        ("$share/g/a#", "MQTT-4.7.1-1"),
        ("$share/g/$share/h/a", "MQTT-4.8.2-2"),
        ("$share/g/$queue/a", "MQTT-4.8.2-2"),
        ("$queue/$share/g/a", "MQTT-4.8.2-2"),
        ("$queue/", "MQTT-4.7.3-1"),
        ("$share/\0/a", "MQTT-4.7.3-2"),
    ] {
        assert_error(SharedFilter::parse(bad), 0x8F, rule, bad.as_bytes());
    }
}

#[test]
fn levels() {
    for (topic, count) in [
        ("", 1),
        ("a", 1),
        ("/", 2),
        ("a/b", 2),
        ("/a/", 3),
        ("//", 3),
    ] {
        assert_eq!(level_count(topic), count);
        assert!(is_within_levels(topic, count) && !is_within_levels(topic, count - 1));
    }
}

#[test]
fn matching() {
    let table = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/tennis/player1/#", "sport/tennis/player12", false),
        ("sport/#", "sport", true),
        ("sport/#", "sport/", true),
        ("sport/#", "sports", false),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+", "a", true),
        ("+", "/a", false),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+/tennis/#", "a/tennis", true),
        ("+/tennis/#", "a/b", false),
        ("a/+/c", "a//c", true),
        ("a//c", "a//c", true),
        ("a//c", "a/b/c", false),
        ("a", "a", true),
        ("a", "A", false),
        ("a", "/a", false),
        ("a", "a/", false),
        ("/", "/", true),
        ("+/+", "/", true),
        ("+/+/+", "/", false),
        ("a/b/#", "a", false),
        ("#", "$SYS/broker", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("+", "$SYS", false),
        ("$SYS/#", "$SYS/monitor/Clients", true),
        ("$SYS/#", "$SYS", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("a/#", "a/$SYS", true),
        ("a/+", "a/$SYS", true),
    ];
    for (filter, topic, expected) in table {
        assert_eq!(
            topic_matches(filter, topic),
            expected,
            "{filter} on {topic}"
        );
        let (filter, topic) = (
            TopicFilter::new(filter).unwrap(),
            TopicName::new(topic).unwrap(),
        );
        assert_eq!(filter.matches(topic), expected);
    }
}

/// The same by recursion over lists of levels, as the specification words it.
fn matches_by_recursion(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) | (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_by_recursion(filter, topic),
        ([a, filter @ ..], [b, topic @ ..]) => a == b && matches_by_recursion(filter, topic),
        _ => false,
    }
}

proptest! {
    #[test]
    fn matching_by_recursion(
        filter in "[ab+]{0,1}(/[ab+]{0,1}){0,3}(/#)?",
        topic in "[ab]{0,1}(/[ab]{0,1}){0,3}",
    ) {
        let (filter_levels, topic_levels): (Vec<_>, Vec<_>) =
            (filter.split('/').collect(), topic.split('/').collect());
        let expected = matches_by_recursion(&filter_levels, &topic_levels);
        prop_assert_eq!(topic_matches(&filter, &topic), expected, "{} {}", filter, topic);
    }

    #[test]
    fn a_name_is_a_filter_that_matches_itself(topic in "[a-z/$ ]{1,12}") {
        let filter = TopicFilter::new(&topic).unwrap();
        prop_assert!(filter.matches(TopicName::new(&topic).unwrap()));
    }
}
