//! PINGREQ (3.12) and keep-alive (3.1.2.10).

use std::time::{Duration, Instant};

use bench_harness::codec::{Packet, Version};

use crate::peer::{PATIENCE, clean, connect, subscriber};
use crate::raw;
use crate::world::{BOTH, address, anyone, assert_alive, breaks, expect_cut, fresh};

/// An interval of one second: the broker has to wait until 1.5 s have gone.
const INTERVAL_S: u16 = 1;
const NOT_BEFORE: Duration = Duration::from_millis(1400);

#[test]
fn it_is_answered() {
    for version in BOTH {
        let mut client = anyone(version);
        for _ in 0..3 {
            client.send(&Packet::PingReq).unwrap();
            assert_eq!(client.expect(PATIENCE).unwrap(), Packet::PingResp);
        }
        breaks(version, &raw::packet(0xC0, &[0]), &[0x81]);
    }
}

#[test]
fn a_silent_client_is_cut_off_after_one_and_a_half_intervals() {
    for version in BOTH {
        let mut options = clean(version, &fresh("silent"));
        options.connect.keep_alive_s = INTERVAL_S;
        let mut client = connect(address(), &options);
        let since = Instant::now();
        expect_cut(version, &mut client, &[0x8D]);
        assert!(since.elapsed() >= NOT_BEFORE, "{:?}", since.elapsed());
    }
}

#[test]
fn it_is_cut_off_as_if_the_network_had_failed() {
    for version in BOTH {
        let topic = fresh("silent");
        let mut heir = subscriber(address(), version, &fresh("heir"), &topic, 0);
        let mut options = clean(version, &fresh("silent"));
        options.connect.keep_alive_s = INTERVAL_S;
        options.connect.will = Some(bench_harness::codec::Will {
            topic,
            payload: b"silent".to_vec(),
            ..Default::default()
        });
        let client = connect(address(), &options);
        assert_eq!(heir.expect_publish().unwrap().payload, b"silent");
        drop(client);
    }
}

#[test]
fn every_packet_counts_as_a_sign_of_life() {
    for version in BOTH {
        let mut options = clean(version, &fresh("alive"));
        options.connect.keep_alive_s = 2;
        let mut client = connect(address(), &options);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            client.expect_nothing(Duration::from_millis(500)).unwrap();
            // Not a PINGREQ, and the receiving of packets does not count.
            client.publish(&fresh("t"), 0, b"x").unwrap();
        }
        assert_alive(&mut client);
    }
}

#[test]
fn zero_switches_it_off() {
    for version in BOTH {
        let mut client = anyone(version);
        client.expect_nothing(Duration::from_secs(2)).unwrap();
        assert_alive(&mut client);
    }
}

#[test]
fn a_longer_interval_is_kept_to() {
    let mut options = clean(Version::V311, &fresh("long"));
    options.connect.keep_alive_s = 60;
    let mut client = connect(address(), &options);
    client.expect_nothing(Duration::from_secs(2)).unwrap();
    assert_alive(&mut client);
}
