//! The macros that make a component from a function.

/// Makes the step of this crate from the function `run: fn(&Agent, Arguments) -> Result<R, StepError>`. Its
/// version is the crate's; `arguments` is the JSON Schema of the arguments. With `outside: yes` at the end, the step
/// may send HTTP requests and wait for signals, as far as its playbook grants that ([`outside`](crate::outside)).
///
/// # Example
/// ```
/// use replibook_plugin_sdk::step::{Agent, StepError};
/// use serde::{Deserialize, Serialize};
/// # use replibook_plugin_sdk::{Level, step::{AgentError, Calls, Input, NodeInfo}};
///
/// #[derive(Deserialize, Serialize)]
/// #[serde(deny_unknown_fields)]
/// struct Drain {
///     seconds: u32,
/// }
///
/// replibook_plugin_sdk::step! {
///     name: "drain",
///     summary: "Drains a node.",
///     arguments: r#"{
///         "type": "object", "additionalProperties": false, "required": ["seconds"],
///         "properties": { "seconds": { "type": "integer", "minimum": 1, "maximum": 3600 } }
///     }"#,
///     run: drain,
/// }
///
/// /// Says how many sessions were moved.
/// fn drain(agent: &Agent<'_>, arguments: Drain) -> Result<u32, StepError> {
///     Ok(agent.run_action("demo.example.com/drain", &arguments)?)
/// }
///
/// # struct Answers;
/// # impl Calls for Answers {
/// #     fn run_action(&self, kind: &str, arguments: &str) -> Result<String, AgentError> {
/// #         assert_eq!((kind, arguments), ("demo.example.com/drain", r#"{"seconds":30}"#));
/// #         Ok("7".to_owned())
/// #     }
/// #     fn info(&self) -> Result<NodeInfo, AgentError> { Ok(NodeInfo::default()) }
/// #     fn wait_status(&self, _: &[String], _: u32) -> Result<String, AgentError> {
/// #         Ok("HEALTHY".to_owned())
/// #     }
/// #     fn now(&self) -> f64 { 0.0 }
/// #     fn sleep(&self, _: u32) {}
/// #     fn random(&self, _: u32) -> Vec<u8> { Vec::new() }
/// #     fn log(&self, _: Level, _: &str) {}
/// # }
/// # fn main() {
/// #     let input = Input::default();
/// #     let moved = drain(&Agent::new(&input, &Answers), Drain { seconds: 30 });
/// #     assert_eq!(moved, Ok(7));
/// # }
/// ```
#[macro_export]
macro_rules! step {
    (
        name: $name:expr, summary: $summary:expr, arguments: $arguments:expr, run: $run:expr
        $(, outside: $outside:ident)? $(,)?
    ) => {
        #[doc(hidden)]
        mod __bindings {
            $crate::__step_bindings!();
        }

        const _: () = {
            use __bindings::exports::replicante::playbook::working;
            use __bindings::replicante::playbook::{agent, entropy, failing, logging, timer};
            use $crate::step::{AgentError, Calls, Input, NodeInfo, StepError};

            struct Plugin;

            impl Calls for Plugin {
                fn info(&self) -> Result<NodeInfo, AgentError> {
                    let info = agent::info().map_err(agent_error)?;
                    let agent::NodeInfo { id, attributes, status, node } = info;
                    Ok(NodeInfo { id, attributes, status, node })
                }
                fn run_action(&self, kind: &str, arguments: &str) -> Result<String, AgentError> {
                    agent::run_action(kind, arguments).map_err(agent_error)
                }
                fn wait_status(
                    &self,
                    statuses: &[String],
                    timeout: u32,
                ) -> Result<String, AgentError> {
                    agent::wait_status(statuses, timeout).map_err(agent_error)
                }
                fn now(&self) -> f64 {
                    timer::now()
                }
                fn sleep(&self, milliseconds: u32) {
                    timer::sleep(milliseconds)
                }
                fn random(&self, length: u32) -> Vec<u8> {
                    entropy::bytes(length)
                }
                fn log(&self, level: $crate::Level, message: &str) {
                    logging::log($crate::__level!(logging, level), message)
                }
            }

            $crate::__outside!($($outside)?);

            fn agent_error(error: agent::AgentError) -> AgentError {
                match error {
                    agent::AgentError::Failed(message) => AgentError::Failed(message),
                    agent::AgentError::Refused(message) => AgentError::Refused(message),
                    agent::AgentError::Unreachable(message) => AgentError::Unreachable(message),
                    agent::AgentError::Lost(message) => AgentError::Lost(message),
                    agent::AgentError::TimedOut(message) => AgentError::TimedOut(message),
                    agent::AgentError::NotGranted(message) => AgentError::NotGranted(message),
                    agent::AgentError::Invalid(message) => AgentError::Invalid(message),
                }
            }

            impl working::Guest for Plugin {
                fn describe() -> working::Description {
                    $crate::on_panic(failing::fail);
                    $crate::__description!(working, $name, $summary, $arguments)
                }

                fn run(input: working::StepInput) -> Result<String, working::StepError> {
                    $crate::on_panic(failing::fail);
                    let working::StepInput {
                        arguments,
                        run,
                        cluster,
                        agent,
                        stage,
                        step,
                        attempt,
                        attributes,
                    } = input;
                    let input =
                        Input { arguments, run, cluster, agent, stage, step, attempt, attributes };
                    let agent = $crate::__agent!(&input, &Plugin $(, $outside)?);
                    $crate::step::run(&agent, $run).map_err(|error| match error {
                        StepError::Retryable(message) => working::StepError::Retryable(message),
                        StepError::Permanent(message) => working::StepError::Permanent(message),
                    })
                }
            }

    __bindings::export!(Plugin with_types_in __bindings);
        };
    };
}

/// Makes the strategy of this crate from the function
/// `plan: fn(&Roster, &Input, Arguments) -> Result<Decision, String>`. Its version is the crate's; `arguments`
/// is the JSON Schema of the arguments. With `held: yes` at the end, the strategy may ask which agents the guards of the
/// cluster hold ([`held`](crate::held)); only hosts that know guards load it.
///
/// # Example
/// ```
/// use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
/// use serde::Deserialize;
/// # use replibook_plugin_sdk::{Level, strategy::{Calls, Counts, Details, NodeView}};
///
/// replibook_plugin_sdk::strategy! {
///     name: "one-by-one",
///     summary: "Starts an agent when the one before has ended.",
///     arguments: r#"{ "type": "object", "additionalProperties": false }"#,
///     plan: plan,
/// }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Arguments {}
///
/// fn plan(roster: &Roster<'_>, _: &Input, Arguments {}: Arguments) -> Result<Decision, String> {
///     let counts = roster.counts();
///     if counts.running > 0 {
///         return Ok(Decision::new(Next::Wait));
///     }
///     match roster.first(State::Pending, 1) {
///         none if none.is_empty() => Ok(Decision::new(Next::Complete)),
///         one => Ok(Decision::new(Next::Wait).start(one, "the next one")),
///     }
/// }
///
/// # struct Waiting(Counts);
/// # impl Calls for Waiting {
/// #     fn counts(&self) -> Counts { self.0 }
/// #     fn page(&self, _: State, _: Option<&str>, _: u32) -> Vec<String> { vec!["a".to_owned()] }
/// #     fn details(&self, _: &str) -> Option<Details> { None }
/// #     fn node(&self, _: &str) -> Option<NodeView> { None }
/// #     fn refresh(&self, _: &[String]) -> Result<(), String> { Ok(()) }
/// #     fn matches(&self, _: &str, _: &str) -> Result<bool, String> { Ok(true) }
/// #     fn log(&self, _: Level, _: &str) {}
/// # }
/// # fn main() -> Result<(), String> {
/// #     let idle = Waiting(Counts::default());
/// #     let first = plan(&Roster::new(&idle), &Input::default(), Arguments {})?;
/// #     assert_eq!(first.start, ["a"]);
/// #     let busy = Waiting(Counts { running: 1, ..Counts::default() });
/// #     let then = plan(&Roster::new(&busy), &Input::default(), Arguments {})?;
/// #     assert_eq!(then, Decision::new(Next::Wait));
/// #     Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! strategy {
    (
        name: $name:expr, summary: $summary:expr, arguments: $arguments:expr, plan: $plan:expr
        $(, held: $held:ident)? $(,)?
    ) => {
        #[doc(hidden)]
        mod __bindings {
            $crate::__strategy_bindings!();
        }

        const _: () = {
            use __bindings::exports::replicante::playbook::planning;
            use __bindings::replicante::playbook::{failing, logging, roster};
            use roster::AgentState;
            use $crate::strategy::{
                Calls, Counts, Decision, Details, Input, Next, NodeView, State,
            };

            struct Plugin;

            impl Calls for Plugin {
                fn counts(&self) -> Counts {
                    let roster::StateCounts {
                        added,
                        pending,
                        running,
                        done,
                        failed,
                        skipped,
                        removed,
                        selected,
                    } = roster::counts();
                    Counts { added, pending, running, done, failed, skipped, removed, selected }
                }
                fn page(&self, state: State, after: Option<&str>, limit: u32) -> Vec<String> {
                    let state = match state {
                        State::Added => AgentState::Added,
                        State::Pending => AgentState::Pending,
                        State::Running => AgentState::Running,
                        State::Done => AgentState::Done,
                        State::Failed => AgentState::Failed,
                        State::Skipped => AgentState::Skipped,
                        State::Removed => AgentState::Removed,
                    };
                    roster::page(state, after, limit)
                }
                fn details(&self, id: &str) -> Option<Details> {
                    let found = roster::details(id)?;
                    let state = match found.state {
                        AgentState::Added => State::Added,
                        AgentState::Pending => State::Pending,
                        AgentState::Running => State::Running,
                        AgentState::Done => State::Done,
                        AgentState::Failed => State::Failed,
                        AgentState::Skipped => State::Skipped,
                        AgentState::Removed => State::Removed,
                    };
                    let roster::AgentDetails {
                        id,
                        batch,
                        attributes,
                        reason,
                        started_at,
                        ended_at,
                        ..
                    } = found;
                    Some(Details { id, state, batch, attributes, reason, started_at, ended_at })
                }
                fn node(&self, id: &str) -> Option<NodeView> {
                    let roster::NodeView { status, node, seen_at } = roster::node(id)?;
                    Some(NodeView { status, node, seen_at })
                }
                fn refresh(&self, ids: &[String]) -> Result<(), String> {
                    roster::refresh(ids)
                }
                fn matches(&self, id: &str, expression: &str) -> Result<bool, String> {
                    roster::matches(id, expression)
                }
                fn log(&self, level: $crate::Level, message: &str) {
                    logging::log($crate::__level!(logging, level), message)
                }
            }

            $crate::__held!($($held)?);

            fn decided(decision: Decision) -> planning::Decision {
                let Decision { start, skip, next, memo, label } = decision;
                let next = match next {
                    Next::Wait => planning::Next::Wait,
                    Next::WaitUntil(at) => planning::Next::WaitUntil(at),
                    Next::Approval(message) => planning::Next::Approval(message),
                    Next::Complete => planning::Next::Complete,
                    Next::Abort(reason) => planning::Next::Abort(reason),
                };
                let skipped = |(id, reason)| planning::Skipped { id, reason };
                let skip = skip.into_iter().map(skipped).collect();
                planning::Decision { start, skip, next, memo, label }
            }

            impl planning::Guest for Plugin {
                fn describe() -> planning::Description {
                    $crate::on_panic(failing::fail);
                    $crate::__description!(planning, $name, $summary, $arguments)
                }

                fn plan(input: planning::PlanInput) -> Result<planning::Decision, String> {
                    $crate::on_panic(failing::fail);
                    let planning::PlanInput { stage, arguments, memo, now, max_start } = input;
                    let input = Input { stage, arguments, memo, now, max_start };
                    let roster = $crate::__roster!(&Plugin $(, $held)?);
                    $crate::strategy::plan(&roster, &input, $plan).map(decided)
                }
            }

    __bindings::export!(Plugin with_types_in __bindings);
        };
    };
}

/// Replaces the allocator by an arena that hardly frees memory. An instance of a plugin lives for some tens
/// of microseconds, and growing its memory would take longer than all its work. It is for plugins that need
/// little memory.
#[macro_export]
macro_rules! arena {
    () => {
        #[global_allocator]
        static ALLOCATOR: $crate::arena::Arena = $crate::arena::Arena::new();
    };
}

/// What a step with `outside: yes` imports besides.
#[doc(hidden)]
#[macro_export]
macro_rules! __outside {
    () => {};
    (yes) => {
        use __bindings::replicante::playbook::{http, signal};
        use $crate::outside::{HttpError, Outside, Request, Response, SignalError};

        impl Outside for Plugin {
            fn send(&self, request: &Request) -> Result<Response, HttpError> {
                let request = http::Request {
                    method: request.method.clone(),
                    url: request.url.clone(),
                    headers: request.headers.clone(),
                    body: request.body.clone(),
                    timeout: u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX),
                };
                let http::Response { status, headers, body } =
                    http::send(&request).map_err(|error| match error {
                        http::HttpError::NotGranted(message) => HttpError::NotGranted(message),
                        http::HttpError::TimedOut(message) => HttpError::TimedOut(message),
                        http::HttpError::Failed(message) => HttpError::Failed(message),
                        http::HttpError::Invalid(message) => HttpError::Invalid(message),
                    })?;
                Ok(Response { status, headers, body })
            }
            fn wait_signal(&self, name: &str, timeout: u32) -> Result<String, SignalError> {
                signal::wait(name, timeout).map_err(|error| match error {
                    signal::SignalError::NotGranted(message) => SignalError::NotGranted(message),
                    signal::SignalError::TimedOut(message) => SignalError::TimedOut(message),
                })
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __agent {
    ($input:expr, $plugin:expr) => {
        $crate::step::Agent::new($input, $plugin)
    };
    ($input:expr, $plugin:expr, yes) => {
        $crate::step::Agent::reaching($input, $plugin, $plugin)
    };
}

/// What a strategy with `held: yes` imports besides.
#[doc(hidden)]
#[macro_export]
macro_rules! __held {
    () => {};
    (yes) => {
        mod holding {
            $crate::__held_bindings!();
        }
        use holding::replicante::playbook::held;

        impl $crate::held::Holding for Plugin {
            fn page(&self, after: Option<&str>, limit: u32) -> Vec<String> {
                held::page(after, limit)
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __roster {
    ($plugin:expr) => {
        $crate::strategy::Roster::new($plugin)
    };
    ($plugin:expr, yes) => {
        $crate::strategy::Roster::knowing($plugin, $plugin)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __level {
    ($logging:ident, $level:expr) => {
        match $level {
            $crate::Level::Debug => $logging::Level::Debug,
            $crate::Level::Info => $logging::Level::Info,
            $crate::Level::Warn => $logging::Level::Warn,
            $crate::Level::Error => $logging::Level::Error,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __description {
    ($exports:ident, $name:expr, $summary:expr, $arguments:expr) => {
        $exports::Description {
            name: String::from($name),
            version: String::from(env!("CARGO_PKG_VERSION")),
            summary: String::from($summary),
            arguments: String::from($arguments),
        }
    };
}
