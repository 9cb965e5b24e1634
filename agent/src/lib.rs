//! Keeps a Kubernetes cluster as a git repository declares it.
//!
//! `nomos vet`, `nomos hydrate` and the agent are one pure function, [`compile`], with a different edge: print, write, apply.
//!
//! ```text
//! edge   git objects, directory ──► SourceFiles
//!                                       │
//! core   compile:  parse ─► raw rules ─► cluster selection ─► scope ─► scoped rules
//!                       ─► tree rules ─► inherit ─► namespace selection ─► final rules ─► stamp
//!                                       │
//!                     findings ◄────────┴────────► DeclaredSet          LiveSet ◄── metadata watches
//!                     (vet prints)      │          (hydrate writes)        │
//!                                       └───────► plan: decide() ◄─────────┘
//!                                                     │ Actions
//! edge                                              apply / delete ──► Outcomes
//! core   engine: step(State, Event, now) -> Commands    ◄──────┘
//! edge                                              report: conditions, ResourceGroup, events, metrics
//! ```
//!
//! # Invariants
//!
//! 1. Only `io/`, `run` and `main` touch files, processes, network, environment or clock. Everything else is a function of
//!    its arguments: no `async`, no traits with one implementation, no global state.
//! 2. Data flows down the module list below: a module uses only modules listed above it. A test checks it.
//! 3. The core never fails on user input: it returns findings. `Result` errors exist only where the world can fail.
//! 4. A [`declared::DeclaredSet`] exists only if nothing blocking was found; only a declared set can be planned. An invalid
//!    repository can never delete anything.
//! 5. Nothing is deleted unless it is in our inventory, its `part-of` label and manager annotation are this sync's, its
//!    `resource-id` annotation names exactly this object, our `Apply` entry is on it, and it is unchanged since that was
//!    seen (uid and resourceVersion are delete preconditions; on a conflict it is decided again).
//! 6. [`plan::decide`] is the only place that decides about an object; the first sync, a new commit, a drift event and a
//!    restart all go through it.
//! 7. Output is a function of input: ordered maps, so one commit gives byte-identical hydrate output and plans.
//! 8. Strings that are contracts (annotation and label keys, field manager, KNV numbers, condition types) live in one place
//!    each.
//! 9. One failing object never delays another that does not depend on it; drift is corrected during a sync and while other
//!    objects fail.
//!
//! # Features
//!
//! Without any the crate compiles repositories: what the linter is made of. `sync` adds what decides about a cluster, without
//! touching one; `cluster` adds the edge.
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
