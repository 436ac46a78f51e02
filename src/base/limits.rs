//! Compile-time limits, each with its unit and reason. What a user may want to change is a setting
//! in `config` instead.

/// Entries in one segment of a [`Slab`](crate::base::slab::Slab). Large enough that the directory
/// stays small (a million entries: 977 segments), small enough that a nearly empty slab wastes
/// little and that one more segment is no visible pause.
pub const SLAB_SEGMENT_ENTRIES: usize = 1024;

/// Slots of a [`TimerWheel`](crate::base::wheel::TimerWheel). At ticks of 100 ms one round is
/// 409.6 s, so that the usual keep-alive of 300 s is placed once and never carried over.
pub const WHEEL_SLOTS: usize = 4096;

/// Timers in one segment of a wheel's pool: 16 KiB.
pub const WHEEL_SEGMENT_TIMERS: usize = 1024;

const _: () = assert!(
    SLAB_SEGMENT_ENTRIES.is_power_of_two(),
    "an index is split by shift"
);
const _: () = assert!(WHEEL_SLOTS.is_power_of_two(), "a tick is mapped by mask");
const _: () = assert!(
    WHEEL_SEGMENT_TIMERS.is_power_of_two(),
    "an index is split by shift"
);

/// Hash tables over which the retained topics of a core are spread. Each grows by itself, so that
/// at a million topics one growth moves 16,000 entries and not all of them.
pub const RETAINED_TABLE_SEGMENTS: usize = 64;

/// Children of a level of the retained topics that lie in one sorted vector; beyond it they lie in
/// a B-tree.
pub const RETAINED_CHILDREN_IN_VECTOR: usize = 16;

const _: () = assert!(
    RETAINED_TABLE_SEGMENTS.is_power_of_two(),
    "a hash's top bits choose one"
);

/// Events for the control plane that a core notes down in one turn: more than a turn without a very large
/// fan-out makes, and 1 MiB.
pub const SEEN_PER_TURN_MAX: usize = 8192;

/// Events of traces that a core notes down in one turn: as many.
pub const TRACED_PER_TURN_MAX: usize = 8192;

/// Messages on their way to subscribers of a core whose times of sending are remembered while slow
/// subscriptions are looked for by the subscribers' answers: 2 MiB.
pub const SLOW_SENT_MAX: usize = 65_536;

/// Packet identifiers of one client: 1 to 65,535 [MQTT-2.2.1-3].
pub const PACKET_IDS: usize = 65_535;

/// Bytes of a socket in handshake that may come before its CONNECT is complete.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Bytes staged towards one core above which producers wait: some hundred microseconds of work for
/// the target, and 60 MiB in all on the largest machine.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;

/// Parcels (large messages, sockets) staged towards one core above which producers wait: about what a
/// ring takes at once.
pub const OUTBOX_PARCELS_MAX: usize = 1024;

/// Bytes of parcels staged towards one core above which producers wait: some milliseconds of work for
/// the target, and a few of the largest messages.
pub const OUTBOX_PARCEL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a message up to which it is copied into a ring; a larger one crosses as a shared block. A copy
/// of 1 KiB costs less than a block with its count and its release on another core.
pub const CROSS_INLINE_BYTES_MAX: usize = 2048;

/// Filter ids that a record holds beside its message; with more it crosses as a parcel.
pub const CROSS_FILTERS_MAX: usize = 1024;

/// Bytes of a payload from which on it is spliced into sends instead of copied into each.
pub const SHARED_PAYLOAD_BYTES_MIN: usize = 4 * 1024;

/// Bytes of topics that one connection's aliases may hold.
pub const ALIAS_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a topic up to which it gets an alias towards a client: with the default of 64 aliases they
/// hold 32 KiB at most.
pub const ALIASED_TOPIC_BYTES_MAX: usize = 512;

/// Bytes that wait in a suspended connection above which no more is received from it.
pub const RECEIVED_BYTES_PAUSE: usize = 64 * 1024;

/// Bytes that wait in a connection below which more is received from it again.
pub const RECEIVED_BYTES_RESUME: usize = 16 * 1024;

/// SUBSCRIBEs of one connection that may wait for the index thread; those behind them wait unread.
pub const SUBSCRIBES_PENDING_MAX: u16 = 64;

/// Messages that the longest queue loses at most to make room for one: about 10 us of work.
pub const QUEUE_DROPS_MAX: usize = 64;

/// Wills published in one turn: about 100 us.
pub const WILLS_PER_TURN: usize = 64;

/// Delayed messages published in one turn: about 100 us.
pub const DELAYED_PER_TURN: usize = 64;

/// Exclusive topics in the whole broker, and those that one core may hold or want: at 64 bytes and the
/// topic each, 100 MiB.
pub const EXCLUSIVE_TOPICS_MAX: usize = 1 << 20;

/// Messages sent again to one client when its retry timer fires; the rest follows a tick later.
pub const RETRIES_PER_TIMER: usize = 64;

/// Stored messages looked at in one turn for expired ones: about 20 us.
pub const RETAINED_SWEEP_PER_TURN: usize = 256;

/// Timers looked at in one turn: about 50 us.
pub const TIMERS_PER_TURN: usize = 1024;

/// Stored messages asked for at once by one replay.
pub const REPLAY_CREDIT: u16 = 64;

/// Nodes of the store of retained messages visited in one turn: about 50 us.
pub const REPLAY_NODES_PER_TURN: usize = 512;

/// Replays of one session that are served at the same time; further ones wait, one a filter.
pub const REPLAYS_OF_SESSION_MAX: usize = 32;

/// How far ahead of a core's own turn, in microseconds, another core may have received a stored message:
/// more than a turn lasts. What seems to be later than that came before the wall clock was set back.
pub const REPLAY_AHEAD_US_MAX: u64 = 1_000_000;

/// Replays that are looked at in one turn: about 50 us.
pub const REPLAYS_PER_TURN: usize = 256;

/// Topics of live retained messages that the replays of one session remember; beyond, a stored message may follow
/// a live one of its topic.
pub const REPLAY_SEEN_MAX: usize = 10_000;

/// Messages that the groups of shared subscribers of a core hand out in one turn: about 500 us.
pub const GROUP_DISPATCHES_PER_TURN: usize = 1024;

/// Members of a shared subscription that are looked at for one whose core takes records now; then the
/// message waits in the group's queue until the next turn.
pub const SHARE_CANDIDATES_MAX: usize = 16;

/// Publishers that a sticky group remembers: 1 MiB. Further ones are spread by hash.
pub const STICKY_PUBLISHERS_MAX: usize = 65_536;

/// Bytes of records of other cores that one turn takes in: about 200 us of work.
pub const MESH_BYTES_PER_TURN: usize = 256 * 1024;

/// At a shutdown, the time in milliseconds that clients have to take what waits for them.
pub const FAREWELL_MS: u64 = 2_000;
/// Removals of retained messages that a core remembers, so that an older message which arrives
/// after the removal does not come back: 24 KiB, allocated with the first removal. More than what
/// arrives within the delay of a ring between two cores.
pub const RETAINED_REMOVALS_REMEMBERED: usize = 1024;

/// How much later, in microseconds, an older message may arrive over another core's ring. One that
/// is older by more has not been overtaken: the wall clock was set back, and it counts as new.
pub const RETAINED_REORDER_US_MAX: u64 = 10_000_000;

const _: () = assert!(
    RETAINED_REMOVALS_REMEMBERED.is_power_of_two(),
    "a hash is mapped by mask"
);

/// Rules of a file, and of the built-in table: about 30 MiB compiled.
pub const ACL_RULES_MAX: usize = 100_000;

/// Terms of a file of rules: some for each of the rules.
pub const ACL_TERMS_MAX: usize = 20 * ACL_RULES_MAX;

/// How deep the terms of a file of rules are nested: the deepest that makes sense is 7.
pub const ACL_TERM_DEPTH_MAX: usize = 16;

/// Bytes of a file of rules.
pub const ACL_FILE_BYTES_MAX: u64 = 16 << 20;

/// Levels of a rule's filter; a question goes as deep into the stack.
pub const ACL_LEVELS_MAX: usize = 128;

/// Bytes of a rule's compiled regular expression.
pub const ACL_REGEX_BYTES_MAX: usize = 256 * 1024;

/// Rules that a client brings along from its login. They are compared one by one: about 10 us.
pub const CLIENT_ACL_RULES_MAX: usize = 256;

/// Questions about access that one core may have open with the control plane; connections that have
/// more to ask wait. Fewer than the events that may wait, so that others find room.
pub const ACCESS_QUESTIONS_MAX: usize = 128;

/// Answers about access that are held for one packet until all of its questions are answered.
pub const ACCESS_ANSWERS_MAX: usize = 256;

/// AUTH packets of one client in one enhanced authentication: SCRAM takes two, GSSAPI about four.
pub const AUTHN_STEPS_MAX: u8 = 8;

/// Bytes that may be added to CONNACK by the last data of enhanced authentication; SCRAM's are 90.
pub const AUTHN_DATA_BYTES_MAX: u32 = 128;

/// Bans that a core holds: about 20 MiB.
pub const BANS_MAX: usize = 100_000;

/// Bans that are networks or regular expressions, each of which is compared with every CONNECT: some
/// microseconds.
pub const BAN_PATTERNS_MAX: usize = 100;

/// Client ids of a core that are watched for coming and going: about 6 MiB. The oldest makes room.
pub const FLAPPING_CLIENTS_MAX: usize = 65_536;

/// Connections looked at in one turn for whom a new ban means: about 100 us.
pub const BAN_SWEEP_PER_TURN: u32 = 4096;

/// Entries that one step of an operator's request gives out: at about 1 us each 100 us of work.
pub const MANAGE_ROWS_PER_STEP: usize = 100;

/// Entries that one step of an operator's request looks at without giving them out: about 100 us.
pub const MANAGE_SCAN_PER_STEP: usize = 1024;

/// Bytes of messages that one step of an operator's request copies: about 30 us. One message is copied
/// whatever its size.
pub const MANAGE_BYTES_PER_STEP: usize = 256 * 1024;

/// Operators' requests that a core takes up in one turn; further ones wait in their channel. Each is a
/// step of at most about 200 us.
pub const MANAGE_STEPS_PER_TURN: usize = 1;
