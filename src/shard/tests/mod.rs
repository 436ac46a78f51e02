//! One shard driven by bytes, one file a subject. [`support`] plays driver, index thread and clients.

#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

mod access;
mod addons;
mod auth;
mod bans;
mod connect;
mod crowds;
mod delayed;
mod lens;
mod limits;
mod lines;
mod many;
mod publish;
mod retained;
mod session;
mod settings;
mod share;
mod subscribe;
mod support;
mod timers;
mod will;
