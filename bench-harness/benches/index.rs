//! What the subscription index costs: `cargo bench --bench index`. Prints nanoseconds of
//! CPU time; judges nothing. The figures in the heads of `src/routing/shared.rs` and `local.rs`
//! come from here.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use millrace::base::ids::CoreId;
use millrace::routing::delta::{Delta, Hit};
use millrace::routing::local::{LocalDelta, LocalIndex, NO_SUBSCRIPTION, SubOptions};
use millrace::routing::reader::{IndexReader, WARM_TOPICS_MAX};
use millrace::routing::shared::SharedIndex;
use millrace::routing::writer::IndexWriter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Filters of each kind.
const FILTERS: usize = 1_000_000;
const LOOK_UPS: usize = 2_000_000;
const CORE: CoreId = CoreId(0);

struct Bench {
    writer: IndexWriter,
    reader: IndexReader,
    random: u64,
}

fn main() {
    let (writer, mut readers, _) = SharedIndex::new(1, [1, 2, 3, 4]).unwrap();
    let mut bench = Bench {
        writer,
        reader: readers.remove(0),
        random: 1,
    };
    bench.reader.unpark();
    bench.fill("exact filters", &|n| format!("device/{n:08}/cmd"));
    bench.look_up_exact();
    for batch in [1, 10, 100, 1000] {
        bench.deltas(batch);
    }
    bench.fill("wildcard filters", &|n| format!("device/{n:08}/+/status"));
    bench.look_up_wildcards();
    bench.hostile_shapes();
    bench.local_unique();
    bench.local_one_filter();
}

/// CPU time of this thread, so that other load on the machine does not count as time.
struct Clock(u64);

impl Clock {
    fn now() -> Self {
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Self(schedstat.split(' ').next().unwrap().parse().unwrap())
    }
}

/// Prints nanoseconds an item.
fn report(what: &str, since: Clock, items: usize) {
    let nanoseconds = (Clock::now().0 - since.0) as f64 / items as f64;
    println!("{what:<44} {nanoseconds:>8.1} ns");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

impl Bench {
    fn add(&mut self, filter: &str) {
        let delta = Delta::Add { filter, core: CORE };
        self.writer.apply(delta).unwrap();
    }

    fn turn(&mut self) {
        self.writer.publish();
        self.reader.pass();
        self.writer.reclaim();
    }

    fn fill(&mut self, what: &str, filter: &dyn Fn(usize) -> String) {
        let before = resident_bytes();
        let start = Clock::now();
        for n in 0..FILTERS {
            self.add(&filter(n));
            if n % 100 == 99 {
                self.turn();
            }
        }
        report(&format!("build, {what}"), start, FILTERS);
        let bytes = (resident_bytes() - before) as f64 / FILTERS as f64;
        println!(
            "    {bytes:.1} bytes resident a filter; {:?}",
            self.writer.bytes()
        );
    }

    fn some_topics(&mut self, count: usize, topic: &dyn Fn(usize) -> String) -> Vec<String> {
        let mut next = || {
            let step = self.random.wrapping_mul(6_364_136_223_846_793_005);
            self.random = step.wrapping_add(1_442_695_040_888_963_407);
            (self.random >> 33) as usize % FILTERS
        };
        (0..count).map(|_| topic(next())).collect()
    }

    fn look_up(&mut self, what: &str, topics: &[String], hits: usize) {
        let mut out: Vec<Hit> = Vec::new();
        let rounds = LOOK_UPS / topics.len();
        for measured in [false, true] {
            let start = Clock::now();
            let mut found = 0;
            for topic in (0..rounds).flat_map(|_| topics) {
                self.reader.matches(topic, &mut out);
                found += out.len();
            }
            assert_eq!(found, hits * rounds * topics.len());
            if measured {
                report(what, start, rounds * topics.len());
            }
        }
    }

    fn look_up_exact(&mut self) {
        let topic = |n: usize| format!("device/{n:08}/cmd");
        self.look_up("exact hit, one topic", &[topic(4711)], 1);
        let thousand = self.some_topics(1000, &topic);
        self.look_up("exact hit, 1000 topics", &thousand, 1);
        let all = self.some_topics(FILTERS, &topic);
        self.look_up("exact hit, 1M topics at random", &all, 1);
        let start = Clock::now();
        let mut out = Vec::new();
        for group in all.chunks(WARM_TOPICS_MAX) {
            self.reader.warm(group.iter().map(String::as_str));
            group
                .iter()
                .for_each(|topic| self.reader.matches(topic, &mut out));
        }
        report("the same, warmed in groups of 16", start, all.len());
        let misses = self.some_topics(1000, &|n| format!("device/{n:08}/cmx"));
        self.look_up("miss, 1000 topics", &misses, 0);
    }

    fn look_up_wildcards(&mut self) {
        self.look_up(
            "exact hit beside one shape",
            &["device/00004711/cmd".to_owned()],
            1,
        );
        let topic = |n: usize| format!("device/{n:08}/x/status");
        self.look_up("1 wildcard match, one topic", &[topic(4711)], 1);
        let all = self.some_topics(FILTERS, &topic);
        self.look_up("1 wildcard match, 1M topics at random", &all, 1);
        for filter in [
            "ten/+/c/d",
            "ten/b/+/d",
            "ten/b/c/+",
            "ten/#",
            "ten/b/#",
            "ten/+/#",
            "+/b/c/d",
            "+/+/c/d",
            "ten/b/c/#",
            "+/b/#",
        ] {
            self.add(filter);
        }
        self.turn();
        self.look_up(
            "10 wildcard matches, one topic",
            &["ten/b/c/d".to_owned()],
            10,
        );
        self.look_up(
            "exact hit beside those shapes",
            &["device/00004711/cmd".to_owned()],
            1,
        );
    }

    fn hostile_shapes(&mut self) {
        for plus in 0..128 {
            let levels = (0..7).map(|at| if plus >> at & 1 == 1 { "+" } else { "l" });
            self.add(&format!("evil/{}", levels.collect::<Vec<_>>().join("/")));
        }
        self.turn();
        println!(
            "128 shapes of 8 levels, {} of them in the trie",
            self.writer.overflow_len()
        );
        self.look_up(
            "    a topic that matches none",
            &["q/w/e/r/t/z/u/i".to_owned()],
            0,
        );
        self.look_up(
            "    a topic that matches all",
            &["evil/l/l/l/l/l/l/l".to_owned()],
            128,
        );
    }

    fn deltas(&mut self, batch: usize) {
        let count = 400_000;
        let mut ids = Vec::new();
        let start = Clock::now();
        for n in 0..count {
            if n % 2 == 0 || ids.is_empty() {
                let filter = &format!("fresh/{n:08}/cmd");
                let delta = Delta::Add { filter, core: CORE };
                ids.push(self.writer.apply(delta).unwrap().filter);
            } else {
                let filter = ids.swap_remove(n * 7919 % ids.len());
                self.writer
                    .apply(Delta::Remove { filter, core: CORE })
                    .unwrap();
            }
            if n % batch == batch - 1 {
                self.turn();
            }
        }
        report(
            &format!("delta, add and remove, batches of {batch}"),
            start,
            count,
        );
    }

    fn subscribe(&mut self, local: &mut LocalIndex, session: usize, head: &mut u32, filter: &str) {
        let session = u32::try_from(session).unwrap();
        let outcome = local.subscribe(&self.reader, session, head, filter, SubOptions(1), None, 0);
        if outcome.unwrap().pending.is_none() {
            return;
        }
        while let Some(LocalDelta::Add { token, filter }) = local.next_delta() {
            let delta = Delta::Add { filter, core: CORE };
            let id = self.writer.apply(delta).unwrap().filter;
            self.turn();
            local.applied(token, id, self.reader.epoch());
        }
    }

    fn local_unique(&mut self) {
        let mut local = LocalIndex::new([1, 2, 3, 4]);
        let mut heads = vec![NO_SUBSCRIPTION; FILTERS];
        let start = Clock::now();
        for (n, head) in heads.iter_mut().enumerate() {
            self.subscribe(&mut local, n, head, &format!("unique/{n:08}/cmd"));
        }
        report("local and shared: a filter of one's own", start, FILTERS);
        println!(
            "    {:.1} local bytes each",
            local.bytes() as f64 / FILTERS as f64
        );
        let topics = self.some_topics(FILTERS, &|n| format!("unique/{n:08}/cmd"));
        let ids: Vec<_> = topics
            .iter()
            .map(|text| self.reader.find(text).unwrap())
            .collect();
        let start = Clock::now();
        let epoch = self.reader.epoch();
        let found = ids.iter().map(|id| local.subscribers(*id, epoch).count());
        assert_eq!(found.sum::<usize>(), FILTERS);
        report("local: id to session, at random", start, FILTERS);
    }

    fn local_one_filter(&mut self) {
        let mut local = LocalIndex::new([1, 2, 3, 4]);
        let mut heads = vec![NO_SUBSCRIPTION; FILTERS];
        let start = Clock::now();
        for (n, head) in heads.iter_mut().enumerate() {
            self.subscribe(&mut local, n, head, "all");
        }
        report("local: join a filter of many", start, FILTERS);
        println!(
            "    {:.1} local bytes each",
            local.bytes() as f64 / FILTERS as f64
        );
        let id = self.reader.find("all").unwrap();
        let start = Clock::now();
        for _ in 0..20 {
            let mut sum = 0;
            let subscribers = local.subscribers(id, self.reader.epoch());
            subscribers.for_each(|one| sum += u64::from(one.session));
            std::hint::black_box(sum);
        }
        report("local: fan-out, each", start, 20 * FILTERS);
        let start = Clock::now();
        for n in 0..FILTERS {
            local.remove_session(&mut heads[n * 7919 % FILTERS]);
        }
        report("local: leave a filter of many, at random", start, FILTERS);
    }
}
