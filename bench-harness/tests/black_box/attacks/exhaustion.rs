//! Attacks that want to use something up: time, places, memory, patience.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Error};
use bench_harness::codec::{Packet, Publish};

use super::{QUOTA, V5, V311, broker, code, dial, memory, publish_code, until_closed, works};
use crate::broker::Broker;
use crate::peer::{PATIENCE, clean, collect, connect, leave, message, persistent, ping, vanish};
use crate::ws_peer::connect_packet;

#[test]
fn slow_connects_are_cut_and_hold_nobody_up() {
    let broker = broker(&["mqtt.idle_timeout=1s"]);
    let mut bystander = connect(broker.address(), &clean(V311, "bystander"));
    let packet = connect_packet("a-client-that-takes-its-time-to-say-who-it-is");
    let mut slow: Vec<TcpStream> = (0..300).map(|_| dial(broker.address())).collect();
    let begun = Instant::now();
    let mut open = slow.len();
    // A byte now and then does not buy time.
    for byte in &packet[..packet.len() - 1] {
        open = slow
            .iter_mut()
            .map(|stream| usize::from(stream.write_all(&[*byte]).is_ok()))
            .sum();
        ping(&mut bystander);
        if open == 0 || begun.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for stream in &mut slow {
        assert!(until_closed(stream).is_empty());
    }
    assert!(open < 300 || begun.elapsed() < PATIENCE);
    ping(&mut bystander);
    works(&broker);
}

#[test]
fn a_flood_of_connects_without_connect_keeps_nobody_out() {
    let broker = broker(&[]);
    let mut bystander = connect(broker.address(), &clean(V311, "bystander"));
    let mut silent: Vec<TcpStream> = Vec::new();
    for number in 0..3000 {
        silent.push(TcpStream::connect(broker.address()).unwrap());
        if number % 300 == 0 {
            ping(&mut bystander);
            works(&broker);
        }
    }
    works(&broker);
    drop(silent);
    works(&broker);
}

#[test]
fn a_flood_of_retained_messages_stops_at_its_memory() {
    let broker = broker(&["retainer.max_memory=2MB", "node.queue_memory=16MB"]);
    let before = memory(&broker);
    let mut client = connect(broker.address(), &clean(V5, "flood"));
    let payload = vec![b'x'; 10_000];
    for number in 0..3000 {
        let publish = Publish {
            retain: true,
            qos: 1,
            packet_id: Some(1),
            ..message(&format!("flood/{number}"), payload.clone())
        };
        client.send(&Packet::Publish(publish)).unwrap();
        assert!(matches!(client.expect(PATIENCE), Ok(Packet::PubAck(_))));
    }
    assert!(memory(&broker) < before + (24 << 20), "30 MB were kept");
    // Small ones in great number cost as much as their places.
    for number in 0..20_000 {
        let publish = Publish {
            retain: true,
            ..message(&format!("flood/{number}/small"), "x")
        };
        client.send(&Packet::Publish(publish)).unwrap();
    }
    ping(&mut client);
    works(&broker);
    let mut reader = connect(broker.address(), &clean(V5, "reader"));
    assert_eq!(reader.subscribe("flood/#", 0).unwrap(), 0);
    let mut bytes = 0;
    while let Ok(Packet::Publish(publish)) = reader.expect(Duration::from_millis(500)) {
        bytes += publish.payload.len();
    }
    assert!((500_000..2 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn a_flood_of_sessions_stops_at_its_limit() {
    let broker = broker(&["mqtt.max_sessions=100"]);
    let mut in_vain = 0;
    for number in 0..300 {
        let options = persistent(V5, &format!("session-{number}"));
        match Client::connect(broker.address(), &options) {
            Ok(client) => leave(client),
            Err(Error::Unexpected(packet)) => match *packet {
                Packet::ConnAck(ack) => {
                    assert_eq!(ack.code, QUOTA);
                    in_vain += 1;
                }
                other => panic!("{other:?}"),
            },
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(in_vain, 200, "each core has half");
    // Those who have one come back, and end it.
    let back = connect(broker.address(), &persistent(V5, "session-0"));
    assert!(back.connack.session_present);
    leave(back);
    leave(connect(broker.address(), &clean(V5, "session-0")));
}

#[test]
fn a_flood_of_delayed_messages_stops_at_the_memory_for_messages() {
    let broker = broker(&["node.queue_memory=16MB"]);
    let before = memory(&broker);
    let mut client = connect(broker.address(), &clean(V5, "flood"));
    let topic = format!("$delayed/4294967/{}", "t".repeat(20_000));
    let mut refused = 0;
    for _ in 0..2000 {
        refused += u32::from(publish_code(&mut client, &topic) == QUOTA);
    }
    assert!(refused > 1000, "{refused}");
    assert!(memory(&broker) < before + (64 << 20));
    works(&broker);
}

#[test]
fn queues_without_a_limit_keep_nobody_out() {
    let broker = broker(&["mqtt.max_mqueue_len=0", "node.queue_memory=16MB"]);
    let before = memory(&broker);
    for number in 0..8 {
        let options = persistent(V5, &format!("hoard-{number}"));
        let mut hoarder = connect(broker.address(), &options);
        assert_eq!(hoarder.subscribe("flood", 1).unwrap(), 1);
        vanish(hoarder);
    }
    let mut flooder = connect(broker.address(), &clean(V5, "flooder"));
    let payload = vec![b'x'; 20_000];
    for _ in 0..4000 {
        flooder.publish("flood", 1, &payload).unwrap();
    }
    assert!(memory(&broker) < before + (96 << 20), "80 MB were sent");
    // New clients come in on both cores, with a will as well.
    for number in 0..8 {
        let mut options = clean(V5, &format!("new-{number}"));
        options.connect.will = Some(bench_harness::codec::Will {
            topic: "w".to_owned(),
            ..bench_harness::codec::Will::default()
        });
        ping(&mut connect(broker.address(), &options));
        ping(&mut connect(
            broker.address(),
            &clean(V311, &format!("more-{number}")),
        ));
    }
    works(&broker);
}

#[test]
fn a_client_that_does_not_read_is_not_kept_messages_for_without_end() {
    let broker = broker(&["mqtt.max_out_queue=64KB", "mqtt.max_mqueue_len=10"]);
    let before = memory(&broker);
    let mut deaf = connect(broker.address(), &clean(V5, "deaf"));
    assert_eq!(deaf.subscribe("flood", 0).unwrap(), 0);
    let mut flooder = connect(broker.address(), &clean(V5, "flooder"));
    let payload = vec![b'x'; 100_000];
    for _ in 0..1000 {
        flooder.publish("flood", 0, &payload).unwrap();
    }
    ping(&mut flooder);
    assert!(memory(&broker) < before + (48 << 20), "100 MB were sent");
    // Nor are its own questions answered without end.
    let asker = connect(broker.address(), &clean(V311, "asker"));
    asker.stream().set_nonblocking(true).unwrap();
    let pings = [0xC0, 0].repeat(32 * 1024);
    let mut sent = 0;
    let begun = Instant::now();
    while sent < 64 << 20 && begun.elapsed() < Duration::from_secs(5) {
        match asker.stream().write(&pings) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(_) => break,
        }
    }
    assert!(
        memory(&broker) < before + (64 << 20),
        "{sent} bytes of PINGREQ"
    );
    ping(&mut flooder);
    works(&broker);
}

#[test]
fn who_is_banned_does_not_come_back_under_another_guise() {
    let scratch = crate::broker::Scratch::new();
    let path = scratch.path("bans.csv");
    let bans =
        "as,who,reason\nusername,mallory,x\nclientid_re,^bot-,x\npeerhost_net,198.51.100.0/24,x\n";
    std::fs::write(&path, bans).unwrap();
    let file = format!("banned.bootstrap_file={}", path.display());
    let broker = broker(&[
        &file,
        "mqtt.use_username_as_clientid=false",
        "listeners.tcp.default.proxy_protocol=true",
    ]);
    let from = |address: &str, id: &str, user: Option<&str>| {
        let mut options = clean(V5, id);
        options.connect.username = user.map(str::to_owned);
        let header = format!(
            "PROXY TCP{} {address} ::1 4711 1883\r\n",
            if address.contains(':') { 6 } else { 4 }
        );
        let header = header.replace("TCP4 198.51.100.7 ::1", "TCP4 198.51.100.7 127.0.0.1");
        let header = header.replace("TCP4 203.0.113.1 ::1", "TCP4 203.0.113.1 127.0.0.1");
        let mut bytes = header.into_bytes();
        bytes.extend(Packet::Connect(options.connect).to_bytes(V5));
        let mut stream = dial(broker.address());
        stream.write_all(&bytes).unwrap();
        let mut head = [0; 4];
        std::io::Read::read_exact(&mut stream, &mut head).unwrap();
        head[3]
    };
    assert_eq!(from("203.0.113.1", "x", None), 0);
    assert_eq!(from("203.0.113.1", "x", Some("mallory")), 0x8A);
    assert_eq!(from("203.0.113.1", "another-id", Some("mallory")), 0x8A);
    assert_eq!(from("203.0.113.1", "bot-1", Some("alice")), 0x8A);
    assert_eq!(from("198.51.100.7", "x", Some("alice")), 0x8A);
    // The same address in the clothes of version 6.
    assert_eq!(from("::ffff:198.51.100.7", "x", Some("alice")), 0x8A);
}

#[test]
fn flapping_is_counted_however_one_leaves() {
    let broker = broker(&[
        "flapping_detect.enable=true",
        "flapping_detect.max_count=6",
        "flapping_detect.ban_time=1h",
    ]);
    let mut banned = false;
    for round in 0..40 {
        match Client::connect(broker.address(), &clean(V5, "flapper")) {
            // Without a word, with one, by a mistake.
            Ok(client) if round % 3 == 0 => vanish(client),
            Ok(client) if round % 3 == 1 => leave(client),
            Ok(mut client) => {
                let _ = client.send_raw(&[0, 0]);
                let _ = client.expect_closed(PATIENCE);
            }
            Err(_) => {
                banned = true;
                break;
            }
        }
    }
    assert!(banned);
    assert_eq!(code(broker.address(), &clean(V5, "flapper")), 0x8A);
    works(&broker);
}

#[test]
fn a_listener_lets_in_as_many_as_it_may_and_as_fast() {
    let broker = broker(&["listeners.tcp.default.max_connections=10"]);
    let mut inside: Vec<Client> = (0..10)
        .map(|number| connect(broker.address(), &clean(V5, &format!("c{number}"))))
        .collect();
    for _ in 0..20 {
        assert!(Client::connect(broker.address(), &clean(V5, "more")).is_err());
    }
    for client in &mut inside {
        ping(client);
    }
}

#[test]
fn who_takes_a_session_over_again_and_again_costs_the_others_nothing() {
    let broker = broker(&[]);
    let mut bystander = connect(broker.address(), &clean(V311, "bystander"));
    let mut last = None;
    for number in 0..300 {
        last = Some(connect(broker.address(), &persistent(V5, "one-id")));
        if number % 30 == 0 {
            ping(&mut bystander);
        }
    }
    ping(&mut last.unwrap());
    works(&broker);
}

#[test]
fn a_storm_of_subscriptions_and_messages_to_oneself_stays_with_oneself() {
    let broker = Broker::with(&["--cores", "2", "--set", "mqtt.max_subscriptions=1000"]);
    let mut bystander = connect(broker.address(), &clean(V311, "bystander"));
    let mut loud = connect(broker.address(), &clean(V5, "loud"));
    for number in 0..100 {
        let filter = format!("loud/{}", "+/".repeat(number % 10) + "#");
        assert!(loud.subscribe(&filter, 0).unwrap() < 3);
    }
    for _ in 0..200 {
        loud.send(&Packet::Publish(message("loud/a/b/c/d/e/f/g", "x")))
            .unwrap();
    }
    ping(&mut bystander);
    assert!(!collect(&mut loud, 200).is_empty());
    works(&broker);
}
