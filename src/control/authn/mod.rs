//! Authentication that a core cannot decide by itself: chains of backends, asked one after another.
//!
//! One thread takes the cores' questions and gives each a task. What computes for long (password
//! hashes, signatures) runs on threads of its own ([`hashing`]); what asks others runs on connections
//! of a bounded number ([`pool`]), within a time, and not at all for a while after it has failed
//! several times ([`member`]). A backend that fails is passed over, as in EMQX, and counted.

mod access;
mod breaker;
mod builtin;
mod chain;
mod directory;
mod document;
mod grant;
mod hashing;
mod http;
mod jwt;
mod key_value;
mod member;
mod pool;
mod scram;
mod sql;
mod template;

use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;

pub use builtin::{BuiltIn, UserError, UserStore};
pub use chain::Chain;
pub use http::Client as HttpClient;
pub use member::{Figures, Member};
pub use scram::Scram;

use crate::config::{AuthnProvider, Config};
use crate::control::authn::hashing::Hashing;
use crate::gate::authn::{AuthnAnswer, AuthnRequest};
use crate::gate::port::Gate;

/// EMQX's name of the chain that holds where a listener has none of its own.
const GLOBAL: &str = "mqtt:global";
/// Most threads for hashes, if the configuration does not say how many.
const HASH_THREADS_MAX: usize = 8;

/// Everybody who authenticates clients.
pub struct Authn {
    /// By listener.
    of_listener: Vec<Arc<Chain>>,
    /// Each chain once, by name.
    chains: Vec<Arc<Chain>>,
    /// Those who are asked about access.
    access: access::Asked,
}

impl Authn {
    /// The chains: the global one as `mqtt:global`, those of listeners under the listeners' names.
    pub fn chains(&self) -> &[Arc<Chain>] {
        &self.chains
    }

    /// Every backend by a name, and whether it has failed so often that it is left alone.
    pub fn backends(&self) -> Vec<(String, bool)> {
        let members = self.chains.iter().flat_map(|chain| {
            let of = |member: &Member| {
                let name = format!("authentication/{}/{}", chain.name(), member.id());
                (name, member.is_down())
            };
            chain.members().iter().map(of).collect::<Vec<_>>()
        });
        let access = self.access.iter();
        let access = access.map(|(id, how)| (format!("authorization/{id}"), how.is_down()));
        members.chain(access).collect()
    }

    /// Starts to answer the cores' questions about clients; nothing runs if nobody is to be asked.
    ///
    /// # Errors
    /// A sentence for the operator: a file that cannot be read, a key that is none.
    pub fn start(handle: &Handle, gate: &Gate, config: &Config) -> Result<Arc<Self>, String> {
        let settings = &config.authentication_settings;
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let automatic = (cpus / 2).clamp(1, HASH_THREADS_MAX);
        let threads = settings.hash_threads.map_or(automatic, usize::from);
        let queue = usize::try_from(settings.hash_queue).unwrap_or(usize::MAX);
        let access = access::start(handle, gate, config)?;
        let asks = config
            .listeners
            .iter()
            .any(|listener| config.authentication_of(listener).next().is_some());
        if !asks {
            return Ok(Arc::new(Self {
                of_listener: Vec::new(),
                chains: Vec::new(),
                access,
            }));
        }
        let hashing = Hashing::start(threads, queue)
            .map_err(|error| format!("no thread for password hashes: {error}"))?;
        let _context = handle.enter();
        let build = |name: &str, providers: &[AuthnProvider]| {
            Chain::new(name, providers, &hashing)
                .map(Arc::new)
                .map_err(|what| match name {
                    GLOBAL => format!("authentication: {what}"),
                    _ => format!("listeners.{name}.authentication: {what}"),
                })
        };
        let global = build(GLOBAL, &config.authentication)?;
        let mut chains = vec![Arc::clone(&global)];
        let mut of_listener = Vec::new();
        for listener in &config.listeners {
            let own = &listener.settings.authentication;
            if own.is_empty() {
                of_listener.push(Arc::clone(&global));
            } else {
                let chain = build(&listener.to_string(), own)?;
                chains.push(Arc::clone(&chain));
                of_listener.push(chain);
            }
        }
        let authn = Arc::new(Self {
            of_listener,
            chains,
            access,
        });
        listen(handle.clone(), gate.clone(), Arc::clone(&authn))
            .map_err(|error| format!("no thread for authentication: {error}"))?;
        Ok(authn)
    }

    async fn answer(&self, mut request: Box<AuthnRequest>) -> AuthnAnswer {
        let ticket = request.ticket;
        let chain = self.of_listener.get(usize::from(request.listener));
        let verdict = match chain {
            Some(chain) => chain.decide(&mut request).await,
            None => crate::gate::authn::Verdict::Unavailable,
        };
        AuthnAnswer { ticket, verdict }
    }
}

/// Takes questions until the cores have ended. Their number is bounded by the cores.
fn listen(handle: Handle, gate: Gate, authn: Arc<Authn>) -> std::io::Result<()> {
    let asked = gate.authn_requests().clone();
    let serve = move || {
        for request in asked.iter() {
            let (gate, authn) = (gate.clone(), Arc::clone(&authn));
            handle.spawn(async move {
                let answer = authn.answer(request).await;
                deliver(&gate, Box::new(answer)).await;
            });
        }
    };
    thread::Builder::new()
        .name("authn".to_owned())
        .spawn(serve)
        .map(drop)
}

/// Hands an answer to its core; a full channel is tried again for a moment, then the core gives the
/// client up by its own time-out.
async fn deliver(gate: &Gate, answer: Box<AuthnAnswer>) {
    let mut answer = answer;
    for _ in 0..DELIVERIES {
        match gate.answer_authn(answer) {
            Ok(()) => return,
            Err(back) => answer = back,
        }
        tokio::time::sleep(DELIVERY_PAUSE).await;
    }
}

/// Times that an answer is offered to a core whose channel is full.
const DELIVERIES: usize = 100;
/// Between two of them.
const DELIVERY_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

#[cfg(test)]
mod tests;
