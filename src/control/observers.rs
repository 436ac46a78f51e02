//! Who wants to know what the cores see: says so to the cores, takes what they tell, and hands it on.
//! Each of those who take it has a bounded queue of its own, so nobody waits for another.

use std::sync::Arc;
use std::thread;

use crate::control::context::Context;
use crate::control::presence;
use crate::gate::command::Command;
use crate::gate::observe::{Kinds, Watch};
use crate::gate::port::Gate;

/// What is wanted according to the configuration.
fn watch(context: &Context) -> Watch {
    Watch {
        for_sys: presence::kinds(&context.config.observe.sys_events),
        ..Watch::default()
    }
}

/// Tells the cores what is wanted, and takes it from now on. Before clients can connect.
///
/// # Errors
/// A sentence for the user.
pub fn start(context: &Arc<Context>) -> Result<(), String> {
    let watch = Arc::new(watch(context));
    if watch.is_empty() {
        return Ok(());
    }
    let gate = context.cores.gate().clone();
    let asked = gate.ask_all(|| Command::Watch(Arc::clone(&watch)));
    if asked < usize::from(gate.cores()) {
        return Err("a core does not take commands".to_owned());
    }
    let context = Arc::clone(context);
    thread::Builder::new()
        .name("observers".to_owned())
        .spawn(move || take(&context, &gate, watch.for_sys))
        .map(drop)
        .map_err(|error| format!("no thread for what cores tell: {error}"))
}

/// Takes what cores tell until they have ended.
fn take(context: &Context, gate: &Gate, for_sys: Kinds) {
    while let Some(seen) = gate.seen() {
        presence::tell(context, &context.announcer, for_sys, &seen);
    }
}
