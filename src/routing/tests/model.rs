//! The real table, shape lists and trie in all orders that loom finds, with a small arena whose
//! blocks are reused at once. Core 0 owns the stable filters, core 1 and 2 the changing ones: a
//! block that is reused under a reader shows as a hit with another filter's cores.

use std::sync::Arc;

use loom::thread;

use crate::base::atomic::{AtomicU64, Ordering};

use crate::base::core_set::CoreSet;
use crate::base::ids::{CoreId, Epoch, FilterId};
use crate::routing::delta::Delta;
use crate::routing::reader::IndexReader;
use crate::routing::shared::SharedIndex;
use crate::routing::writer::IndexWriter;

fn add(writer: &mut IndexWriter, filter: &str, core: u8) -> FilterId {
    let core = CoreId(core);
    writer.apply(Delta::Add { filter, core }).unwrap().filter
}

fn remove(writer: &mut IndexWriter, filter: FilterId, core: u8) {
    let core = CoreId(core);
    writer.apply(Delta::Remove { filter, core }).unwrap();
}

/// The cores of all hits of a topic, one by one.
fn cores(reader: &mut IndexReader, topic: &str) -> Vec<CoreSet> {
    let mut hits = Vec::new();
    reader.matches(topic, &mut hits);
    hits.iter().map(|hit| hit.cores).collect()
}

/// Runs a writer beside a reader in all orders with up to two preemptions.
fn model(
    stable: &'static [&'static str],
    changing: &'static [&'static str],
    write: fn(&mut IndexWriter, Vec<FilterId>) -> Epoch,
    read: fn(&mut IndexReader),
    after: fn(&mut IndexReader),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 20_000;
    builder.check(move || {
        let (mut writer, mut readers, epochs) = SharedIndex::new(1, [1, 2, 3, 4]).unwrap();
        for filter in stable {
            add(&mut writer, filter, 0);
        }
        let changing = changing.iter().map(|text| add(&mut writer, text, 1));
        let changing = changing.collect();
        let first = writer.publish();
        let mut reader = readers.remove(0);
        let thread = thread::spawn(move || {
            assert!(reader.unpark() >= first);
            read(&mut reader);
            reader.pass();
            read(&mut reader);
            reader.park();
            reader
        });
        let last = write(&mut writer, changing);
        let mut reader = thread.join().unwrap();
        assert!(epochs.all_passed(last), "a parked reader counts");
        assert_eq!(reader.unpark(), last);
        read(&mut reader);
        after(&mut reader);
    });
}

#[test]
fn loom_a_removed_filter_is_reused_only_when_the_reader_has_passed() {
    model(
        &["s"],
        &["a", "c"],
        |writer, changing| {
            remove(writer, changing[0], 1);
            remove(writer, changing[1], 1);
            writer.publish();
            writer.reclaim();
            add(writer, "b", 2);
            writer.publish()
        },
        |reader| {
            assert_eq!(cores(reader, "s"), [CoreSet(1)]);
            assert!([&[][..], &[CoreSet(2)]].contains(&&cores(reader, "a")[..]));
            assert!([&[][..], &[CoreSet(4)]].contains(&&cores(reader, "b")[..]));
        },
        |reader| {
            assert!(cores(reader, "a").is_empty());
            assert_eq!(cores(reader, "b"), [CoreSet(4)]);
        },
    );
}

#[test]
fn loom_a_segment_that_grows_under_a_reader_loses_nothing() {
    model(
        &["s", "t"],
        &["a"],
        |writer, changing| {
            add(writer, "b", 2);
            writer.publish();
            writer.reclaim();
            remove(writer, changing[0], 1);
            add(writer, "a", 2);
            let last = writer.publish();
            writer.reclaim();
            last
        },
        |reader| {
            assert_eq!(cores(reader, "t"), [CoreSet(1)]);
            assert!(cores(reader, "a").len() <= 1);
        },
        |reader| {
            assert_eq!(cores(reader, "s"), [CoreSet(1)]);
            assert_eq!(cores(reader, "a"), [CoreSet(4)]);
            assert_eq!(cores(reader, "b"), [CoreSet(4)]);
        },
    );
}

/// Two shapes are allowed under loom, which `s/+` and `s/#` take; the others go to the trie, where
/// `+/b` finds its edges. Two nodes are freed, so that a free block's link would show as cores of
/// the filter that reuses it.
#[test]
fn loom_the_trie_changes_under_a_reader() {
    model(
        &["s/+", "s/#", "+/b/#"],
        &["+/a", "+/c"],
        |writer, changing| {
            remove(writer, changing[0], 1);
            remove(writer, changing[1], 1);
            writer.publish();
            writer.reclaim();
            add(writer, "+/b", 2);
            assert_eq!(writer.overflow_len(), 2);
            writer.publish()
        },
        |reader| {
            let found = cores(reader, "x/b");
            assert!([&[CoreSet(1)][..], &[CoreSet(1), CoreSet(4)]].contains(&&found[..]));
            assert!([&[][..], &[CoreSet(2)]].contains(&&cores(reader, "x/a")[..]));
        },
        |reader| {
            assert!(cores(reader, "x/a").is_empty());
            assert_eq!(cores(reader, "x/b"), [CoreSet(1), CoreSet(4)]);
            assert_eq!(cores(reader, "s/x"), [CoreSet(1), CoreSet(1)]);
        },
    );
}

/// A shape goes and comes beside a stable one of the same list.
#[test]
fn loom_the_list_of_shapes_changes_under_a_reader() {
    model(
        &["s/+"],
        &["+/a"],
        |writer, changing| {
            remove(writer, changing[0], 1);
            writer.publish();
            writer.reclaim();
            add(writer, "+/b", 2);
            let last = writer.publish();
            assert_eq!(writer.overflow_len(), 0);
            last
        },
        |reader| {
            assert_eq!(cores(reader, "s/x"), [CoreSet(1)]);
            assert!([&[][..], &[CoreSet(2)]].contains(&&cores(reader, "x/a")[..]));
            assert!([&[][..], &[CoreSet(4)]].contains(&&cores(reader, "x/b")[..]));
        },
        |reader| {
            assert!(cores(reader, "x/a").is_empty());
            assert_eq!(cores(reader, "x/b"), [CoreSet(4)]);
        },
    );
}

/// The order on which SUBACK hangs: what the writer has published and told is matched by every turn
/// that begins after it was told, whatever the core did before.
#[test]
fn loom_what_was_acknowledged_is_matched_from_the_next_turn_on() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let (mut writer, mut readers, _) = SharedIndex::new(1, [1, 2, 3, 4]).unwrap();
        let mut reader = readers.remove(0);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&acknowledged);
        let thread = thread::spawn(move || {
            reader.unpark();
            let told = told.load(Ordering::Acquire);
            let epoch = reader.pass();
            let found = cores(&mut reader, "a");
            if told > 0 {
                assert!(epoch >= Epoch(told));
                assert_eq!(found, [CoreSet(2)]);
            }
        });
        add(&mut writer, "a", 1);
        let epoch = writer.publish();
        acknowledged.store(epoch.0, Ordering::Release);
        thread.join().unwrap();
    });
}
