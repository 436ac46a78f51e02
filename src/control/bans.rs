//! Bans: kept here, and told to the cores, which look at them when a client comes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::access::bans::{Ban as CoreBan, BanWho};
use crate::base::ids::CoreId;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::cores::{Cursor, Unanswered};
use crate::control::state::{Ban, BanKind, StateError};
use crate::gate::command::Command;
use crate::gate::manage::Manage;

/// Pause before a full command channel is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(1);
/// Tries until a core counts as gone: some seconds.
const TRIES_MAX: usize = 5_000;
/// Bans of cores that are asked for at a time.
const OWN_PER_PAGE: usize = 100;
/// What stands between kind and who in the name of a record; no kind has it.
const BETWEEN: char = '/';

/// The name of a ban's record.
fn name(kind: BanKind, who: &str) -> String {
    format!("{}{BETWEEN}{who}", word(kind))
}

/// EMQX's word for what a ban looks at.
pub fn word(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Clientid => "clientid",
        BanKind::Username => "username",
        BanKind::Peerhost => "peerhost",
        BanKind::ClientidRe => "clientid_re",
        BanKind::UsernameRe => "username_re",
        BanKind::PeerhostNet => "peerhost_net",
    }
}

/// The kind of that word.
pub fn kind(text: &str) -> Option<BanKind> {
    let all = [
        BanKind::Clientid,
        BanKind::Username,
        BanKind::Peerhost,
        BanKind::ClientidRe,
        BanKind::UsernameRe,
        BanKind::PeerhostNet,
    ];
    all.into_iter().find(|kind| word(*kind) == text)
}

/// All bans whose time is not over.
pub fn all(context: &Context) -> Vec<Ban> {
    let now = clock::unix_s();
    let rows = context.state.bans.all().into_iter();
    let bans = rows.map(|(_, ban)| ban);
    bans.filter(|ban| ban.until_s.is_none_or(|until| until > now))
        .collect()
}

/// The same with those that cores have made themselves, in the order of kinds and names.
///
/// # Errors
/// A core does not answer.
pub async fn all_of_cores_too(context: &Context) -> Result<Vec<Ban>, Unanswered> {
    let mut all = all(context);
    let known: BTreeSet<String> = all.iter().map(|ban| name(ban.kind, &ban.who)).collect();
    let (mut from, mut own) = (Some(Cursor::default()), Vec::new());
    while let Some(at) = from {
        let page = context
            .cores
            .list(at, OWN_PER_PAGE, |from, max, reply| Manage::OwnBans {
                from,
                max,
                reply,
            });
        let (rows, next) = page.await?;
        own.extend(rows);
        from = next;
    }
    let own = own.into_iter().map(|ban| record(&ban));
    all.extend(own.filter(|ban| !known.contains(&name(ban.kind, &ban.who))));
    all.sort_by_cached_key(|ban| name(ban.kind, &ban.who));
    Ok(all)
}

/// A core's ban as it is kept and told.
fn record(ban: &CoreBan) -> Ban {
    Ban {
        kind: kind(ban.who.kind()).unwrap_or(BanKind::Clientid),
        who: ban.who.text(),
        by: ban.by.to_string(),
        reason: ban.reason.to_string(),
        at_s: ban.at_unix_s,
        until_s: ban.until_unix_s,
    }
}

/// Keeps the bans of the bootstrap file, so that they are told and ended like others. One that is there
/// already stays as it is.
///
/// # Errors
/// They cannot be kept.
pub fn keep_bootstrap(context: &Context, bans: &[Arc<CoreBan>]) -> Result<(), StateError> {
    let rows = bans.iter().map(|ban| {
        let ban = record(ban);
        (name(ban.kind, &ban.who), ban)
    });
    let new = rows.filter(|(name, _)| context.state.bans.get(name).is_none());
    context.state.bans.put_all(new.collect())
}

/// Ends a ban that is not kept: one that a core has made itself. Says whether there was one.
///
/// # Errors
/// A core does not answer.
pub async fn end_own(context: &Context, kind: BanKind, who: &str) -> Result<bool, Unanswered> {
    let all = all_of_cores_too(context).await?;
    let found = all.iter().any(|ban| ban.kind == kind && ban.who == who);
    if found {
        lift(context, kind, who);
    }
    Ok(found)
}

/// One ban whose time is not over.
pub fn find(context: &Context, kind: BanKind, who: &str) -> Option<Ban> {
    let ban = context.state.bans.get(&name(kind, who))?;
    let over = ban.until_s.is_some_and(|until| until <= clock::unix_s());
    (!over).then_some(ban)
}

/// Bans someone: nobody of this kind is let in, and who is connected has to go.
///
/// # Errors
/// It cannot be kept.
pub fn add(context: &Context, ban: Ban) -> Result<(), StateError> {
    forget_expired(context)?;
    context
        .state
        .bans
        .put(&name(ban.kind, &ban.who), ban.clone())?;
    tell(context, &ban);
    Ok(())
}

/// Ends a ban; says whether there was one.
///
/// # Errors
/// The change cannot be kept.
pub fn remove(context: &Context, kind: BanKind, who: &str) -> Result<bool, StateError> {
    let removed = context.state.bans.remove(&name(kind, who))?.is_some();
    if removed {
        lift(context, kind, who);
    }
    Ok(removed)
}

/// Ends all bans.
///
/// # Errors
/// The change cannot be kept.
pub fn clear(context: &Context) -> Result<(), StateError> {
    for ban in context.state.bans.clear()? {
        lift(context, ban.kind, &ban.who);
    }
    Ok(())
}

fn lift(context: &Context, kind: BanKind, who: &str) {
    if let Ok(who) = BanWho::parse(word(kind), who) {
        let who = Arc::new(who);
        ask_all(context, || Command::Unban(Arc::clone(&who)));
    }
}

/// Tells the cores of all bans that were kept. It waits for them.
pub fn tell_all(context: &Context) {
    for ban in all(context) {
        tell(context, &ban);
    }
}

fn tell(context: &Context, ban: &Ban) {
    match BanWho::parse(word(ban.kind), &ban.who) {
        Ok(who) => {
            let ban = Arc::new(CoreBan {
                who,
                by: ban.by.as_str().into(),
                reason: ban.reason.as_str().into(),
                at_unix_s: ban.at_s,
                until_unix_s: ban.until_s,
            });
            ask_all(context, || Command::Ban(Arc::clone(&ban)));
        }
        Err(why) => tracing::warn!("the ban of `{}` is passed over: {why}", ban.who),
    }
}

/// Gives a command to every core. It waits for room in their channels: a ban must not be lost.
fn ask_all(context: &Context, command: impl Fn() -> Command) {
    for core in 0..context.cores.count() {
        let mut command = command();
        for _ in 0..TRIES_MAX {
            match context.cores.gate().ask(CoreId(core), command) {
                Ok(()) => break,
                Err(back) => command = back,
            }
            std::thread::sleep(TRY_AGAIN_AFTER);
        }
    }
}

fn forget_expired(context: &Context) -> Result<(), StateError> {
    let now = clock::unix_s();
    let over: Vec<String> = context.state.bans.read(|rows| {
        let over = rows
            .iter()
            .filter(|(_, ban)| ban.until_s.is_some_and(|until| until <= now));
        over.map(|(name, _)| name.clone()).collect()
    });
    for name in over {
        context.state.bans.remove(&name)?;
    }
    Ok(())
}
