//! Shared subscriptions (4.8.2).

use bench_harness::client::{Client, Error};
use bench_harness::codec::{Ack, Packet, Publish, Version};

use crate::peer::{PATIENCE, SILENCE, answer, clean, collect, connect, persistent, success, texts};
use crate::world::{BOTH, address, assert_alive, fresh, listener, publish, publish_all, pubrel};

const V5: Version = Version::V5;

/// Two members of a group with sessions that outlive their connections.
struct Pair {
    ids: [String; 2],
    clients: [Option<Client>; 2],
    topic: String,
}

impl Pair {
    fn new(version: Version) -> Self {
        let topic = fresh("shared");
        let filter = format!("$share/{}/{topic}", fresh("group"));
        let ids = [fresh("member"), fresh("member")];
        let clients = [0, 1].map(|at: usize| {
            let mut client = connect(address(), &persistent(version, &ids[at]));
            assert_eq!(client.subscribe(&filter, 2).unwrap(), 2);
            Some(client)
        });
        Self {
            ids,
            clients,
            topic,
        }
    }

    /// Waits for a message: who got it, and the message.
    fn chosen(&mut self) -> (usize, Publish) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            for at in [0, 1] {
                match self.client(at).expect(SILENCE) {
                    Ok(Packet::Publish(publish)) => return (at, publish),
                    Err(Error::Timeout) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(std::time::Instant::now() < deadline, "nobody got it");
        }
    }

    fn client(&mut self, at: usize) -> &mut Client {
        self.clients[at].as_mut().unwrap()
    }

    fn lose(&mut self, at: usize) {
        self.clients[at] = None;
    }

    fn back(&mut self, version: Version, at: usize) -> &mut Client {
        let client = connect(address(), &persistent(version, &self.ids[at]));
        self.clients[at].insert(client)
    }
}

#[test]
fn a_message_goes_to_one_member_at_its_qos() {
    for version in BOTH {
        let topic = fresh("shared");
        let filter = format!("$share/{}/{topic}", fresh("group"));
        let mut member = listener(version, &filter, 1);
        publish(version, &topic, 2, "x");
        let got = collect(&mut member, 1);
        assert_eq!((got[0].qos, texts(&got)), (1, vec!["x".to_owned()]));
        let mut other = listener(version, &filter, 1);
        let numbers: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        publish_all(version, &topic, numbers.iter().map(|n| (1, n.as_str())));
        let mut got = Vec::new();
        for client in [&mut member, &mut other] {
            while let Ok(Packet::Publish(publish)) = client.expect(SILENCE) {
                client.send(&answer(&publish).unwrap()).unwrap();
                got.push(publish);
            }
        }
        let mut got: Vec<u32> = texts(&got).iter().map(|t| t.parse().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<u32>>());
    }
}

#[test]
fn each_member_has_its_own_granted_qos() {
    let topic = fresh("shared");
    let filter = format!("$share/{}/{topic}", fresh("group"));
    let mut members = [0, 1].map(|qos| listener(V5, &filter, qos));
    publish_all(V5, &topic, (0..20).map(|_| (2, "x")));
    let mut count = 0;
    for (granted, client) in members.iter_mut().enumerate() {
        while let Ok(Packet::Publish(publish)) = client.expect(SILENCE) {
            assert_eq!(usize::from(publish.qos), granted);
            if let Some(answer) = answer(&publish) {
                client.send(&answer).unwrap();
            }
            count += 1;
        }
    }
    assert_eq!(count, 20);
}

#[test]
fn a_delivery_of_qos_2_that_has_begun_is_completed_with_its_client() {
    for version in BOTH {
        for received in [false, true] {
            let mut pair = Pair::new(version);
            publish(version, &pair.topic, 2, "x");
            let (at, first) = pair.chosen();
            let id = first.packet_id.unwrap();
            if received {
                let client = pair.client(at);
                client.send(&Packet::PubRec(success(id))).unwrap();
                assert_eq!(pubrel(client), id);
            }
            pair.lose(at);
            pair.client(1 - at).expect_nothing(SILENCE).unwrap();
            let client = pair.back(version, at);
            if received {
                assert_eq!(pubrel(client), id);
            } else {
                let again = client.expect_publish().unwrap();
                assert_eq!((again.packet_id, again.dup), (Some(id), true));
            }
            pair.client(1 - at).expect_nothing(SILENCE).unwrap();
        }
    }
}

#[test]
fn a_delivery_of_qos_2_ends_with_the_session_of_its_client() {
    for version in BOTH {
        let mut pair = Pair::new(version);
        publish(version, &pair.topic, 2, "x");
        let (at, _) = pair.chosen();
        pair.lose(at);
        // A clean start ends the session; a second of its kind has seen the end of the first.
        for _ in 0..2 {
            assert_alive(&mut connect(address(), &clean(version, &pair.ids[at])));
        }
        pair.client(1 - at).expect_nothing(SILENCE * 3).unwrap();
    }
}

#[test]
fn what_a_member_refuses_goes_to_no_other() {
    for qos in [1, 2] {
        let mut pair = Pair::new(V5);
        publish(V5, &pair.topic, qos, "x");
        let (at, got) = pair.chosen();
        let refusal = Ack {
            packet_id: got.packet_id.unwrap(),
            code: 0x80,
            ..Ack::default()
        };
        let refusal = if qos == 1 {
            Packet::PubAck(refusal)
        } else {
            Packet::PubRec(refusal)
        };
        pair.client(at).send(&refusal).unwrap();
        pair.client(1 - at).expect_nothing(SILENCE * 2).unwrap();
        pair.client(at).expect_nothing(SILENCE).unwrap();
        // And the group goes on.
        publish(V5, &pair.topic, qos, "next");
        assert_eq!(pair.chosen().1.payload, b"next");
    }
}
