//! Keeps a Kubernetes cluster as a git repository declares it.
//!
//! `nomos vet`, `nomos hydrate` and the agent are one pure function, [`compile()`](compile::compile), with a different edge:
//! print, write, apply.
//!
//! # The way of the data
//!
//! ```text
//! io       git objects, directory ──► SourceFiles
//!                                         │
//! compile  parse ─► raw rules ─► cluster selection ─► scope ─► scoped rules
//!                ─► tree rules ─► inherit ─► namespace selection ─► final rules ─► system metadata
//!                                         │
//!                       findings ◄────────┴────────► DeclaredSet        live objects ◄── metadata watches
//!                       (vet prints)      │          (hydrate writes)        │
//! sync                                    └───────► plan: decide() ◄─────────┘
//!                                                       │
//!          engine: step(event, now) -> commands ────────┤        ◄── answers, watch events
//!                                                       ▼
//! io                                     apply, delete, read; status, ResourceGroups, Events
//! run      one task for each sync feeds its engine with events and carries out its commands
//! ```
//!
//! To follow one object, begin with [`compile()`](compile::compile), then [`plan::decide`](sync::plan::decide) and
//! [`State::step`](sync::engine::State::step), then `run/sync.rs`. `ARCHITECTURE.md` tells the way of one object from a
//! commit to the cluster, and back after drift.
//!
//! # Stages
//!
//! A stage uses only the stages above it in this list, and inside a stage a module uses only the modules that the stage's
//! `mod.rs` lists above it. A test checks both.
//!
//! | stage | what it holds | feature |
//! |---|---|---|
//! | [`model`] | words that all stages use: objects, metadata keys, findings, YAML text | |
//! | [`compile`] | files to a declared set, through the gates | |
//! | `api` | the API types that users and other tools know | `sync` |
//! | `sync` | a declared set and live objects to decisions: field ownership, plan, engine, inventory, status | `sync` |
//! | [`io`] | the edge: git, files, the Kubernetes API, reports, metrics | `cluster`, but for `io::files` and the modules that it uses |
//! | `run` | syncs as tasks | `cluster` |
//!
//! Without any feature the crate compiles repositories: that is the linter. `sync` adds all pure code. `cluster` adds the
//! edge.
//!
//! # Invariants
//!
//! 1. Only `io/`, `run` and `main` touch files, processes, network, environment or clock. Everything else is a function of
//!    its arguments: no `async`, no traits with one implementation, no global state.
//! 2. Data flows down the list of stages.
//! 3. The core never fails on user input: it returns findings. `Result` errors exist only where the world can fail.
//! 4. A [`DeclaredSet`](compile::declared::DeclaredSet) exists only if nothing blocking was found, and only a declared set
//!    can be planned. An invalid repository can never delete anything.
//! 5. An object is deleted only if the sync's record, which is written before the first apply, names it, its `part-of` label and
//!    manager annotation are the sync's, its `resource-id` annotation names exactly this object, the sync's `Apply` entry is in
//!    its `managedFields`, and it is unchanged since that was seen: uid and resourceVersion are preconditions of the deletion,
//!    and a conflict is decided about again.
//! 6. [`plan::decide`](sync::plan::decide) is the only place that decides about an object. The first sync, a new commit, a
//!    drift event and a restart all go through it.
//! 7. Output is a function of input: maps are ordered, so that one commit gives byte-identical hydrate output and plans.
//! 8. Strings that are contracts (annotation and label keys, field manager, KNV numbers, condition types) live in one place
//!    each.
//! 9. An object that fails never delays an object that does not depend on it. Drift is put back during a sync and while
//!    other objects fail.
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests read the files they compare with"))]

pub mod model;
pub mod compile;
#[cfg(feature = "sync")]
pub mod api;
#[cfg(feature = "sync")]
pub mod sync;
pub mod io;
#[cfg(feature = "cluster")]
pub mod run;
