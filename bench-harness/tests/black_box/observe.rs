//! What the broker tells about itself and its clients: `$SYS` topics, events.

mod alarms;
mod presence;
mod sys_topics;
mod webhook;

use std::collections::BTreeMap;
use std::time::Instant;

use bench_harness::client::Client;
use bench_harness::codec::Packet;

use crate::peer::PATIENCE;

/// The name of a broker that has none of its own.
const NODE: &str = "millrace@127.0.0.1";

/// Collects QoS 0 messages by topic until `enough` of them are there.
pub fn gather(
    client: &mut Client,
    enough: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let deadline = Instant::now() + PATIENCE;
    let mut all = BTreeMap::new();
    while !enough(&all) {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.expect(left) {
            Ok(Packet::Publish(publish)) => {
                let text = String::from_utf8(publish.payload).unwrap();
                all.insert(publish.topic, text);
            }
            other => panic!("{other:?} after {all:?}"),
        }
    }
    all
}
