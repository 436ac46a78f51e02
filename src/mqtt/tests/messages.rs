//! Publications, records and messages.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::mqtt::message::{Message, Publication, PublisherRef, RECORD_HEAD_BYTES};
use crate::mqtt::qos::QoS;
use proptest::prelude::*;

fn example() -> Publication<'static> {
    Publication {
        topic: "a/\u{e4}",
        payload: b"payload",
        properties: &[0x01, 1],
        qos: QoS::ExactlyOnce,
        retain: true,
        received_us: 1_800_000_000_000_000,
        expires_us: NonZeroU64::new(1_800_000_009_000_000),
        publisher: PublisherRef(7 << 56 | 9),
    }
}

#[test]
fn a_message_is_shared_by_count() {
    let message = Message::from_publication(&example());
    assert_eq!(message.shares(), 1);
    let other = message.clone();
    assert_eq!((message.shares(), other.shares()), (2, 2));
    assert_eq!(other.view(), example());
    assert_eq!(message.len(), example().record_len());
    drop(other);
    assert_eq!(message.shares(), 1);
    assert_eq!(Message::from_record(message.record()).view(), example());
}

#[test]
fn a_block_is_shared_by_cores_and_by_each_core_on_its_own() {
    let block = example().to_block();
    let here = Message::from_block(Arc::clone(&block));
    let there = Message::from_block(Arc::clone(&block));
    assert_eq!(Arc::strong_count(&block), 3, "one share a core");
    let again = here.clone();
    assert_eq!((here.shares(), there.shares()), (2, 1));
    assert_eq!(Arc::strong_count(&block), 3);
    assert_eq!((again.view(), there.view()), (example(), example()));
    drop((here, again));
    assert_eq!(Arc::strong_count(&block), 2);
    assert_eq!(there.len(), example().record_len());
}

#[test]
#[should_panic(expected = "a record has a head")]
fn a_record_without_a_head() {
    let _ = Publication::from_record(&[0; RECORD_HEAD_BYTES - 1]);
}

#[test]
#[should_panic(expected = "a record holds what its head says")]
fn a_record_that_was_cut() {
    let mut record = Vec::new();
    Publication {
        payload: &[],
        ..example()
    }
    .write_record(&mut record);
    record.pop();
    let _ = Message::from_record(&record);
}

#[test]
#[should_panic(expected = "the space for a record")]
fn a_slot_of_the_wrong_size() {
    example().write_record_into(&mut [0; 40]);
}

proptest! {
    #[test]
    fn records_hold_everything(
        topic in "\\PC{0,40}",
        payload in any::<Vec<u8>>(),
        properties in any::<Vec<u8>>(),
        qos in 0..=2_u8,
        retain: bool,
        received_us: u64,
        expires_us: u64,
        publisher: u64,
    ) {
        let publication = Publication {
            topic: &topic,
            payload: &payload,
            properties: &properties,
            qos: QoS::from_u8(qos).unwrap(),
            retain,
            received_us,
            expires_us: NonZeroU64::new(expires_us),
            publisher: PublisherRef(publisher),
        };
        let mut record = vec![0xEE];
        publication.write_record(&mut record);
        prop_assert_eq!(record.len(), 1 + publication.record_len());
        prop_assert_eq!(Publication::from_record(&record[1..]), publication);
        let mut slot = vec![0; publication.record_len()];
        publication.write_record_into(&mut slot);
        prop_assert_eq!(&slot, &record[1..]);
        let message = Message::from_publication(&publication);
        prop_assert_eq!(message.record(), &slot);
    }
}
