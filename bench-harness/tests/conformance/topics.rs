//! Topic names and filters (4.7), shared subscriptions' filters (4.8).

use bench_harness::client::{Client, Error};
use bench_harness::codec::{Packet, Version};

use crate::peer::{PATIENCE, clean, connect};
use crate::raw;
use crate::world::{BOTH, address, anyone, breaks, fresh, listener, publish};

/// What of `topics` a subscriber to `filter` gets.
fn matching(version: Version, filter: &str, topics: &[String]) -> Vec<String> {
    let mut client = listener(version, filter, 0);
    let mark = fresh("mark");
    client.subscribe(&mark, 0).unwrap();
    let mut publisher = anyone(version);
    for topic in topics {
        publisher.publish(topic, 0, topic.as_bytes()).unwrap();
    }
    publisher.publish(&mark, 0, b"mark").unwrap();
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8(client.expect_publish().unwrap().payload).unwrap();
        if text == "mark" {
            return got;
        }
        got.push(text);
    }
}

/// A subscription that has to fail: a code of its own in the SUBACK, or the connection ends.
fn filter_is_refused(version: Version, filter: &str) {
    let mut client = anyone(version);
    client
        .send_raw(&raw::subscribe(version, filter.as_bytes(), 0))
        .unwrap();
    match client.expect(PATIENCE) {
        // A filter that is wrong, not one that is not supported.
        Ok(Packet::SubAck(ack)) => assert!([0x80, 0x8F].contains(&ack.codes[0]), "{ack:?}"),
        Ok(Packet::Disconnect(farewell)) => {
            assert!([0x81, 0x82, 0x8F].contains(&farewell.code), "{farewell:?}");
        }
        Err(Error::Closed) => assert_eq!(version, Version::V311, "{filter}"),
        other => panic!("{filter}: {other:?}"),
    }
}

fn client_of(version: Version) -> Client {
    connect(address(), &clean(version, &fresh("topics")))
}

#[test]
fn a_multi_level_wildcard_is_the_last_level() {
    for version in BOTH {
        for filter in ["a/#/b", "a#", "#a", "a/b#", "##", "#/", "/a/#b"] {
            filter_is_refused(version, filter);
        }
        let base = fresh("multi");
        let topics: Vec<String> = ["", "/", "/a", "/a/b", "x"]
            .iter()
            .map(|tail| format!("{base}{tail}"))
            .collect();
        // The parent level belongs to it.
        assert_eq!(
            matching(version, &format!("{base}/#"), &topics),
            topics[..4]
        );
    }
}

#[test]
fn a_single_level_wildcard_is_a_whole_level() {
    for version in BOTH {
        for filter in ["a+", "+a", "a/b+/c", "++", "a/+b"] {
            filter_is_refused(version, filter);
        }
        let base = fresh("single");
        let topics: Vec<String> = ["", "/", "/a", "/a/b", "/b/b"]
            .iter()
            .map(|tail| format!("{base}{tail}"))
            .collect();
        let got = matching(version, &format!("{base}/+"), &topics);
        assert_eq!(got, topics[1..3]);
        let got = matching(version, &format!("{base}/+/b"), &topics);
        assert_eq!(got, topics[3..]);
        // At the first level, and beside the other one.
        let got = matching(
            version,
            &format!("+/{base}"),
            &[format!("x/{base}"), base.clone()],
        );
        assert_eq!(got, [format!("x/{base}")]);
    }
}

#[test]
fn wildcards_are_for_filters_only() {
    for version in BOTH {
        for topic in ["a/+/b", "#", "+"] {
            let bytes = raw::publish(version, topic.as_bytes(), b"x");
            breaks(version, &bytes, &[0x81, 0x82, 0x90]);
        }
        let mut client = client_of(version);
        assert_eq!(
            client.subscribe(&format!("{}/+/#", fresh("f")), 1).unwrap(),
            1
        );
    }
}

#[test]
fn a_leading_wildcard_does_not_match_a_dollar() {
    for version in BOTH {
        let tail = fresh("dollar");
        let topics = [format!("$own/{tail}"), format!("own/{tail}")];
        let got = matching(version, &format!("+/{tail}"), &topics);
        assert_eq!(got, topics[1..]);
        let mut all = client_of(version);
        all.subscribe("#", 0).unwrap();
        publish(version, &topics[0], 0, "hidden");
        publish(version, &topics[1], 1, &tail);
        // Others publish as well; this is about what is hidden.
        loop {
            let got = all.expect_publish().unwrap();
            assert!(!got.topic.starts_with('$'), "{got:?}");
            if got.payload == tail.as_bytes() {
                break;
            }
        }
        // A filter that names the first level does match.
        let got = matching(version, "$own/#", &topics[..1]);
        assert!(got.contains(&topics[0]), "{got:?}");
    }
}

#[test]
fn names_and_filters_have_a_character_at_least() {
    for version in BOTH {
        breaks(
            version,
            &raw::publish(version, b"", b"x"),
            &[0x81, 0x82, 0x90],
        );
        filter_is_refused(version, "");
        breaks(
            version,
            &raw::unsubscribe(version, b""),
            &[0x81, 0x82, 0x8F],
        );
        // One that is a separator only is a topic.
        let got = matching(version, "/", &["/".to_owned()]);
        assert!(got.iter().all(|topic| topic == "/") && !got.is_empty());
    }
}

#[test]
fn names_and_filters_have_no_null() {
    for version in BOTH {
        breaks(version, &raw::publish(version, b"a\0", b"x"), &[0x81, 0x90]);
        breaks(version, &raw::subscribe(version, b"a\0", 0), &[0x81, 0x8F]);
        breaks(version, &raw::unsubscribe(version, b"a\0"), &[0x81, 0x8F]);
    }
}

#[test]
fn the_longest_name_is_accepted() {
    for version in BOTH {
        let head = fresh("long");
        let topic = format!("{head}{}", "x".repeat(65_535 - head.len()));
        let got = matching(version, &topic, std::slice::from_ref(&topic));
        assert_eq!(got, [topic]);
    }
}

#[test]
fn names_are_not_normalised() {
    for version in BOTH {
        let base = fresh("Norm");
        let different = [
            base.clone(),
            base.to_lowercase(),
            format!("/{base}"),
            format!("{base}/"),
            format!("{base}//"),
            format!("{base} "),
            format!("{base}\u{E9}"),
            format!("{base}e\u{301}"),
            format!("{base}/./x"),
            format!("{base}/x"),
            format!("{base}%20"),
        ];
        for topic in &different {
            let got = matching(version, topic, &different);
            assert_eq!(got, std::slice::from_ref(topic));
        }
    }
}

#[test]
fn empty_levels_are_levels() {
    for version in BOTH {
        let base = fresh("empty");
        let topics = [format!("{base}//b"), format!("{base}/b")];
        let got = matching(version, &format!("{base}/+/b"), &topics);
        assert_eq!(got, topics[..1]);
    }
}

#[test]
fn share_names_have_their_form() {
    for version in BOTH {
        for filter in [
            "$share/",
            "$share/group",
            "$share/group/",
            "$share//topic",
            "$share/a+/topic",
            "$share/+/topic",
            "$share/a#/topic",
            "$share/#",
        ] {
            filter_is_refused(version, filter);
        }
    }
}
