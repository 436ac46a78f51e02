//! Who wants to know what the cores see: says so to the cores, takes what they tell, and hands it on.
//! Each of those who take it has a bounded queue of its own, so nobody waits for another.

use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;

use crate::control::context::Context;
use crate::control::presence;
use crate::control::webhook::Webhook;
use crate::gate::command::Command;
use crate::gate::observe::{Kinds, Watch};
use crate::gate::port::Gate;

/// Those who want to know.
struct Observers {
    context: Arc<Context>,
    for_sys: Kinds,
    webhook: Option<Webhook>,
}

/// Tells the cores what is wanted, and takes it from now on. Before clients can connect.
///
/// # Errors
/// A sentence for the user.
pub fn start(handle: &Handle, context: &Arc<Context>) -> Result<(), String> {
    let observers = Observers {
        context: Arc::clone(context),
        for_sys: presence::kinds(&context.config.observe.sys_events),
        webhook: Webhook::start(handle, context)?,
    };
    let mut watch = Watch {
        for_sys: observers.for_sys,
        ..Watch::default()
    };
    if let Some(webhook) = &observers.webhook {
        webhook.watch(&mut watch);
    }
    if watch.is_empty() {
        return Ok(());
    }
    let (watch, gate) = (Arc::new(watch), context.cores.gate().clone());
    let asked = gate.ask_all(|| Command::Watch(Arc::clone(&watch)));
    if asked < usize::from(gate.cores()) {
        return Err("a core does not take commands".to_owned());
    }
    thread::Builder::new()
        .name("observers".to_owned())
        .spawn(move || observers.take(&gate))
        .map(drop)
        .map_err(|error| format!("no thread for what cores tell: {error}"))
}

impl Observers {
    /// Takes what cores tell until they have ended.
    fn take(&self, gate: &Gate) {
        let context = &self.context;
        while let Some(seen) = gate.seen() {
            presence::tell(context, &context.announcer, self.for_sys, &seen);
            if let Some(webhook) = &self.webhook {
                webhook.tell(context, &seen);
            }
        }
    }
}
