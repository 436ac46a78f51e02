//! The matrices of the simulation over real sockets: wills in every combination, replays, shared groups.
//! Many clients at once, one broker, short delays; a case whose clients came too late to tell is left
//! out, and few may be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench_harness::client::{Client, Error, Options};
use bench_harness::codec::{Disconnect, Packet, Properties, Property, Publish, Version, Will};

use crate::broker::Broker;
use crate::oracle::{Case, ENDINGS, Ending};
use crate::peer::{
    PATIENCE, answer, clean, collect, connect, persistent, subscriber, success, texts, vanish,
};

/// When the clients of late returns come, after the last ending.
const LATE: Duration = Duration::from_secs(3);
/// A will that is due comes within this time.
const SLACK: Duration = Duration::from_secs(3);
/// For ever, as far as the test is concerned.
const LONG_S: u32 = 600;

/// Which clients come back: none, at once, or late; with clean start or without.
const RETURNS: [Option<(bool, bool)>; 5] = [
    None,
    Some((false, true)),
    Some((false, false)),
    Some((true, true)),
    Some((true, false)),
];

/// The combinations of a version. Times are in milliseconds; when clients come back is filled in later.
fn cases(v5: bool) -> Vec<(Case, Option<(bool, bool)>)> {
    let (delays, expiries): (&[u32], &[u32]) = if v5 {
        (&[0, 2000, LONG_S * 1000], &[0, 5000, LONG_S * 1000])
    } else {
        (&[0], &[LONG_S * 1000])
    };
    let mut cases = Vec::new();
    for clean in [true, false] {
        for &delay in delays {
            for &expiry in expiries {
                for ending in ENDINGS {
                    let other = matches!(ending, Ending::Kicked | Ending::Shutdown);
                    if other || (ending == Ending::WithWill && !v5) {
                        continue;
                    }
                    let taken = matches!(ending, Ending::TakenOver { .. });
                    for back in RETURNS.into_iter().take(if taken { 1 } else { 5 }) {
                        let number = cases.len();
                        let case = Case {
                            v5,
                            clean,
                            expiry_s: expiry,
                            delay_s: delay,
                            qos: [0, 1, 2][number % 3],
                            retain: number % 2 == 0,
                            ending,
                            back: None,
                        };
                        cases.push((case, back));
                    }
                }
            }
        }
    }
    cases
}

/// A case on its way.
struct Run {
    number: usize,
    case: Case,
    back: Option<(bool, bool)>,
    client: Option<Client>,
    successor: Option<Client>,
    /// The connection ended between these two moments.
    ended: (Instant, Instant),
    /// The client came back between these two.
    came_back: Option<(Instant, Instant)>,
    present: Option<bool>,
}

impl Run {
    fn options(&self, clean_start: bool, with_will: bool) -> Options {
        let version = if self.case.v5 {
            Version::V5
        } else {
            Version::V311
        };
        let mut options = clean(version, &format!("will-{}-{}", self.case.v5, self.number));
        options.timeout = PATIENCE;
        let connect = &mut options.connect;
        connect.clean_start = clean_start;
        if self.case.v5 {
            let expiry_s = self.case.expiry_s / 1000;
            connect.properties = Properties(vec![Property::SessionExpiryInterval(expiry_s)]);
        }
        if !with_will {
            return options;
        }
        if self.case.ending == Ending::Silent {
            connect.keep_alive_s = 1;
        }
        let delay_s = self.case.delay_s / 1000;
        connect.will = Some(Will {
            qos: self.case.qos,
            retain: self.case.retain,
            topic: format!("will/{}/{}", self.case.v5, self.number),
            payload: b"gone".to_vec(),
            properties: if delay_s > 0 {
                Properties(vec![Property::WillDelayInterval(delay_s)])
            } else {
                Properties::default()
            },
        });
        options
    }

    fn end(&mut self, address: SocketAddr) {
        let silent = self.case.ending == Ending::Silent;
        let before = if silent { self.ended.0 } else { Instant::now() };
        let Some(mut client) = self.client.take() else {
            return;
        };
        match self.case.ending {
            Ending::Normal | Ending::WithWill => {
                let code = if self.case.ending == Ending::Normal {
                    0
                } else {
                    4
                };
                let bye = Disconnect {
                    code,
                    ..Disconnect::default()
                };
                client.send(&Packet::Disconnect(bye)).unwrap();
                client.expect_closed(PATIENCE).unwrap();
            }
            Ending::TakenOver { clean } => {
                let next = connect(address, &self.options(clean, false));
                self.present = Some(next.connack.session_present);
                self.successor = Some(next);
                let told = client.expect_closed(PATIENCE).unwrap();
                assert_eq!(told.map(|d| d.code), self.case.v5.then_some(0x8E));
            }
            // The broker ends it, not before the keep-alive is over.
            Ending::Silent => {
                client.expect_closed(PATIENCE).unwrap();
            }
            _ => vanish(client),
        }
        self.ended = (before, Instant::now());
    }

    fn come_back(&mut self, address: SocketAddr, clean_start: bool) {
        let before = Instant::now();
        let next = connect(address, &self.options(clean_start, false));
        self.present = Some(next.connack.session_present);
        self.successor = Some(next);
        self.came_back = Some((before, Instant::now()));
    }

    /// The case with the shortest, or the longest, time that its client may have been away. The broker
    /// sees a connection go up to the slack after it went.
    fn with_times(&self, longest: bool) -> Case {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap();
        let back = self.came_back.zip(self.back).map(|(came, (_, clean))| {
            let at = if longest {
                came.1.saturating_duration_since(self.ended.0)
            } else {
                came.0.saturating_duration_since(self.ended.1 + SLACK / 3)
            };
            (ms(at), clean)
        });
        Case { back, ..self.case }
    }

    /// Whether the will has to come, if that is certain.
    fn comes(&self, until: Instant) -> Option<bool> {
        let due = [false, true].map(|longest| {
            let due_ms = self.with_times(longest).published_at_s();
            let patient = until.saturating_duration_since(self.ended.1 + SLACK);
            match due_ms.map(|ms| Duration::from_millis(ms.into())) {
                None => Some(false),
                Some(due) if due <= patient => Some(true),
                Some(due) if due > patient + 3 * SLACK => Some(false),
                Some(_) => None,
            }
        });
        due[0].filter(|_| due[0] == due[1])
    }
}

/// Reads what comes until nothing has come for a while after a moment.
fn gather(heir: &mut Client, until: Instant) -> BTreeMap<String, Vec<Publish>> {
    let mut got: BTreeMap<String, Vec<Publish>> = BTreeMap::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match heir.expect(left.max(Duration::from_millis(300))) {
            Ok(Packet::Publish(publish)) => {
                if let Some(answer) = answer(&publish) {
                    heir.send(&answer).unwrap();
                }
                got.entry(publish.topic.clone()).or_default().push(publish);
            }
            Ok(Packet::PubRel(ack)) => heir.send(&Packet::PubComp(success(ack.packet_id))).unwrap(),
            Ok(other) => panic!("unexpected {other:?}"),
            Err(Error::Timeout) if Instant::now() >= until => return got,
            Err(Error::Timeout) => {}
            Err(why) => panic!("{why}"),
        }
    }
}

fn wills_of(address: SocketAddr, v5: bool) {
    let mut heir = subscriber(
        address,
        Version::V5,
        &format!("heir-{v5}"),
        &format!("will/{v5}/+"),
        2,
    );
    let now = Instant::now();
    let mut runs: Vec<Run> = cases(v5)
        .into_iter()
        .enumerate()
        .map(|(number, (case, back))| Run {
            number,
            case,
            back,
            client: None,
            successor: None,
            ended: (now, now),
            came_back: None,
            present: None,
        })
        .collect();
    for run in &mut runs {
        // The broker may end who is silent before anybody looks.
        run.ended.0 = Instant::now();
        run.client = Some(connect(address, &run.options(run.case.clean, true)));
    }
    for run in &mut runs {
        run.end(address);
        if let Some((false, clean)) = run.back {
            run.come_back(address, clean);
        }
    }
    std::thread::sleep(LATE);
    for run in &mut runs {
        if let Some((true, clean)) = run.back {
            run.come_back(address, clean);
        }
    }
    // What is due without a return is at most the delay of two and the expiry of five seconds.
    let until = Instant::now() + Duration::from_secs(6);
    let got = gather(&mut heir, until);
    judge(&runs, &got, until);
    let stored: BTreeSet<String> = {
        let mut late = subscriber(
            address,
            Version::V5,
            &format!("late-{v5}"),
            &format!("will/{v5}/+"),
            2,
        );
        gather(&mut late, Instant::now()).into_keys().collect()
    };
    for run in &runs {
        let topic = format!("will/{v5}/{}", run.number);
        let kept = run.case.retain && got.contains_key(&topic);
        assert_eq!(stored.contains(&topic), kept, "stored: {:?}", run.case);
    }
}

fn judge(runs: &[Run], got: &BTreeMap<String, Vec<Publish>>, until: Instant) {
    let mut open = 0;
    for run in runs {
        let topic = format!("will/{}/{}", run.case.v5, run.number);
        let came = got.get(&topic).map_or(0, Vec::len);
        assert!(came <= 1, "{:?}: {came} times", run.case);
        if let Some(publish) = got.get(&topic).and_then(|all| all.first()) {
            assert_eq!((publish.qos, publish.retain), (run.case.qos, false));
        }
        let case = run.with_times(true);
        match run.comes(until) {
            Some(comes) => assert_eq!(came == 1, comes, "{case:?} {:?}", run.back),
            None => open += 1,
        }
        let at = |longest| {
            let case = run.with_times(longest);
            let taken = match case.ending {
                Ending::TakenOver { clean } => Some((0, clean)),
                _ => None,
            };
            let back = case.back.or(taken);
            back.map(|(at, clean)| case.is_present(at, clean))
        };
        if at(false) == at(true) {
            assert_eq!(run.present, at(true), "session present: {case:?}");
        }
    }
    assert!(open * 4 < runs.len(), "{open} of {} are open", runs.len());
    println!("{} cases, {open} of them left open", runs.len());
}

#[test]
fn wills_in_every_combination() {
    let broker = Broker::start(2);
    let address = broker.address();
    std::thread::scope(|scope| {
        let five = scope.spawn(|| wills_of(address, true));
        wills_of(address, false);
        five.join().unwrap();
    });
    broker.stop();
}

/// The wills of clients that are there come when the broker stops.
#[test]
fn wills_at_a_shutdown() {
    let mut broker = Broker::start(2);
    let address = broker.address();
    // Acknowledgements are not heard any more, so at QoS 1 a window would be all that comes.
    let mut heir = subscriber(address, Version::V5, "heir", "will/#", 0);
    let clients: Vec<Client> = cases(true)
        .into_iter()
        .step_by(7)
        .enumerate()
        .map(|(number, (case, _))| {
            let run = Run {
                number,
                case: Case { qos: 1, ..case },
                back: None,
                client: None,
                successor: None,
                ended: (Instant::now(), Instant::now()),
                came_back: None,
                present: None,
            };
            let mut options = run.options(case.clean, true);
            options.connect.keep_alive_s = 0;
            connect(address, &options)
        })
        .collect();
    broker.signal("TERM");
    let got = collect(&mut heir, clients.len());
    let topics: BTreeSet<&String> = got.iter().map(|publish| &publish.topic).collect();
    assert_eq!(topics.len(), clients.len());
    drop(heir);
    drop(clients);
    broker.expect_orderly_end();
}

/// What is in flight comes again first, as it was; then the queue.
#[test]
fn what_comes_again_comes_first_and_in_order() {
    let broker = Broker::start(2);
    let address = broker.address();
    let mut from = connect(address, &clean(Version::V5, "from"));
    for version in [Version::V311, Version::V5] {
        // Each bit says which of six messages have QoS 2; of those the first ones get a PUBREC.
        for (number, bits) in (0..64_u8).step_by(3).enumerate() {
            let topic = format!("replay/{number}/{}", version == Version::V5);
            let id = format!("replay-{number}");
            let mut client = connect(address, &persistent(version, &id));
            client.subscribe(&topic, 2).unwrap();
            let qos = |at: u8| 1 + (bits >> at & 1);
            for at in 0..6 {
                from.publish(&topic, qos(at), &[b'0' + at]).unwrap();
            }
            let first: Vec<Publish> = (0..6).map(|_| client.expect_publish().unwrap()).collect();
            let released: Vec<u16> = first
                .iter()
                .filter(|publish| publish.qos == 2)
                .take(number % 3)
                .filter_map(|publish| publish.packet_id)
                .collect();
            for packet_id in &released {
                client.send(&Packet::PubRec(success(*packet_id))).unwrap();
                let rel = client.expect(PATIENCE).unwrap();
                assert_eq!(rel, Packet::PubRel(success(*packet_id)));
            }
            vanish(client);
            for at in 6..9 {
                from.publish(&topic, 1, &[b'0' + at]).unwrap();
            }
            let mut client = connect(address, &persistent(version, &id));
            assert!(client.connack.session_present);
            again(&mut client, &first, &released);
            assert_eq!(texts(&collect(&mut client, 3)), ["6", "7", "8"]);
            vanish(client);
            drop(connect(address, &clean(version, &id)));
        }
    }
    broker.stop();
}

fn again(client: &mut Client, first: &[Publish], released: &[u16]) {
    let (mut publishes, mut releases) = (Vec::new(), Vec::new());
    for _ in first {
        match client.expect(PATIENCE).unwrap() {
            Packet::Publish(publish) => publishes.push(publish),
            Packet::PubRel(ack) => releases.push(ack.packet_id),
            other => panic!("unexpected {other:?}"),
        }
    }
    let due: Vec<Publish> = first
        .iter()
        .filter(|publish| publish.packet_id.is_some_and(|id| !released.contains(&id)))
        .map(|publish| Publish {
            dup: true,
            ..publish.clone()
        })
        .collect();
    assert_eq!(publishes, due);
    assert_eq!(releases, released);
}

/// Groups under every strategy: all stay, one crashes, all are away.
#[test]
fn shared_groups_under_every_strategy() {
    let strategies = [
        "round_robin",
        "random",
        "sticky",
        "hash_clientid",
        "hash_topic",
        "local",
    ];
    std::thread::scope(|scope| {
        for strategy in strategies {
            scope.spawn(move || group_under(strategy));
        }
    });
}

fn group_under(strategy: &str) {
    let setting = format!("mqtt.shared_subscription_strategy={strategy}");
    let broker = Broker::with(&["--cores", "2", "--set", &setting]);
    let address = broker.address();
    let mut from = connect(address, &clean(Version::V5, "from"));
    let names = ["m0", "m1", "m2"];
    let join = |name: &str| {
        let mut member = connect(address, &persistent(Version::V5, name));
        member.subscribe("$share/g/s/+", 1).unwrap();
        member
    };
    let mut members: Vec<Client> = names.iter().map(|name| join(name)).collect();

    // The first one acknowledges nothing and goes: the others have everything in the end.
    for number in 0..12_u8 {
        let topic = format!("s/{}", number % 4);
        from.publish(&topic, 1, &[number]).unwrap();
    }
    let silent = members.remove(0);
    let mut had = BTreeSet::new();
    let mut got: Vec<u8> = Vec::new();
    read_group(&mut members, &mut got);
    vanish(silent);
    for number in 0..12 {
        if !got.contains(&number) {
            had.insert(number);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while got.len() < 12 && Instant::now() < deadline {
        read_group(&mut members, &mut got);
    }
    got.sort_unstable();
    assert_eq!(
        got,
        (0..12).collect::<Vec<u8>>(),
        "{strategy}: {had:?} came again"
    );

    // All are away: the group keeps what comes once, in order, for who comes first.
    members.into_iter().for_each(vanish);
    await_away(&mut from, address, &names);
    for number in 0..8_u8 {
        from.publish("s/0", 1, &[number]).unwrap();
    }
    let mut first = connect(address, &persistent(Version::V5, names[1]));
    let got: Vec<u8> = collect(&mut first, 8)
        .iter()
        .map(|p| p.payload[0])
        .collect();
    assert_eq!(got, (0..8).collect::<Vec<u8>>(), "{strategy}");
    let mut second = connect(address, &persistent(Version::V5, names[2]));
    second.expect_nothing(Duration::from_millis(300)).unwrap();
    first.expect_nothing(Duration::from_millis(100)).unwrap();
    broker.stop();
}

/// The broker has seen that everybody is gone when a will of each has come.
fn await_away(from: &mut Client, address: SocketAddr, names: &[&str]) {
    from.subscribe("away/+", 0).unwrap();
    for name in names {
        let mut options = persistent(Version::V5, name);
        options.connect.will = Some(Will {
            topic: format!("away/{name}"),
            payload: b"x".to_vec(),
            ..Will::default()
        });
        vanish(connect(address, &options));
    }
    for _ in names {
        from.expect_publish().unwrap();
    }
}

fn read_group(members: &mut [Client], got: &mut Vec<u8>) {
    for member in members {
        loop {
            match member.expect(Duration::from_millis(150)) {
                Ok(Packet::Publish(publish)) => {
                    got.push(publish.payload[0]);
                    member.send(&answer(&publish).unwrap()).unwrap();
                }
                Ok(other) => panic!("unexpected {other:?}"),
                Err(Error::Timeout) => break,
                Err(why) => panic!("{why}"),
            }
        }
    }
}
