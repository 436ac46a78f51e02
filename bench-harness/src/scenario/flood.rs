//! Queues that fill: many subscribers stop reading while messages to them go on, without a limit for any
//! single queue. The broker's memory has to stay within its budget, and whoever does read loses nothing.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::Run;
use super::broker::Broker;
use super::file::Messages;
use super::hold::{self, Seen};
use super::sampler::Ending;
use super::stream;
use crate::failure::Failure;
use crate::interval::Intervals;
use crate::pubsub;
use crate::results::Report;

const SAMPLE_EVERY: usize = 1000;
/// The stream's clients are there before the flood's come.
const STREAM_FIRST: Duration = Duration::from_secs(2);
const NET_DISTANCE: u8 = 100;

/// Runs it.
pub(super) fn run(
    run: &Run<'_>,
    mut broker: Broker,
    messages: &Messages,
    flood: &Messages,
) -> Result<Report, Failure> {
    let stream_args = stream::pubsub_args(run, &broker, messages);
    let mut flood_args = stream::pubsub_args(run, &broker, flood);
    flood_args.pause_subscribers = flood.duration_seconds;
    flood_args.common.source_net = run.args.source_net.wrapping_add(NET_DISTANCE);
    flood_args.common.quiet = true;
    let intervals = Arc::new(Intervals::on(SAMPLE_EVERY));
    let ending = Ending {
        stop: run.stop.clone(),
        ..Ending::default()
    };
    let mut sampler = hold::sampler(run, &mut broker, ending, Arc::clone(&intervals))?;
    let (stream, flood) = stream::watched(&mut sampler, || {
        thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                thread::sleep(STREAM_FIRST);
                pubsub::run_observed(&flood_args, Arc::new(Intervals::off()))
            });
            let stream = pubsub::run_observed(&stream_args, Arc::clone(&intervals));
            let flood = flooding.join();
            (
                stream,
                flood.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        })
    });
    sampler.take_tables("end", 0.0);
    let seen = Seen::new(sampler);
    let (mut report, flood) = (stream?, flood?);
    write(&mut report, &flood, &seen);
    seen.complete(run, &mut report, broker);
    Ok(report)
}

fn write(report: &mut Report, flood: &Report, seen: &Seen) {
    let m = &mut report.measured;
    for name in [
        "messages_sent",
        "deliveries",
        "lost",
        "duplicates",
        "other_faults",
    ] {
        m.insert(format!("flood_{name}"), json!(flood.number(name)));
    }
    let points = &seen.series.points;
    let idle = points.iter().find_map(|point| point.user_bytes);
    let peak = points.iter().filter_map(|point| point.user_bytes).max();
    let growth = idle.zip(peak).map(|(idle, peak)| peak.saturating_sub(idle));
    m.insert("flood_growth_bytes".to_owned(), json!(growth));
    // What the flood's subscribers miss is what the broker says it dropped: nothing goes silently.
    let dropped = points.iter().filter_map(|point| point.dropped).max();
    let said = seen.dropped.max(dropped);
    let gone = flood.number("lost").zip(said.map(|n| n as f64));
    m.insert("broker_dropped_in_all".to_owned(), json!(said));
    m.insert(
        "lost_and_not_counted".to_owned(),
        json!(gone.map(|(lost, said)| lost - said)),
    );
}
