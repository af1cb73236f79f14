//! What can be done through the API, and which verb it wants: the one table of this. Each endpoint names its deed, and a
//! test walks all endpoints.

use crate::playbook::access::Verb;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Deed {
    /// Ask whether the server is there, and how it is spoken with.
    Ask,
    /// Say who one is, or ask where that is done.
    LogIn,
    /// Ask who one is oneself.
    AskOneself,
    ViewRuns,
    ViewPlaybooks,
    ViewClusters,
    ViewPlugins,
    /// Look at the engines, and at numbers about all runs.
    ViewServer,
    StartRun,
    /// Run a command on agents of a cluster.
    Exec,
    SteerRun,
    /// Ask something of a run: what is asked says whether that is steering or approving.
    CommandRun,
    ApproveRun,
    /// Have a run go on in spite of a guard.
    OverrideGuard,
    /// Give up a run that could go on.
    ForceAbandon,
    /// Apply documents: their kinds say whether playbooks or clusters.
    ApplyAny,
    ApplyPlaybook,
    DeletePlaybook,
    ApplyCluster,
    DeleteCluster,
    /// Let pass what a guard, a window or a freeze of a cluster holds up, or change its credentials.
    LoosenCluster,
    UploadPlugin,
    ImportPlugin,
    DeletePlugin,
    DrainEngine,
    ReadAudit,
}

impl Deed {
    /// The table: what is done, in words; the verbs of which one is wanted, none where anybody may; whether it changes
    /// anything.
    const fn row(self) -> (&'static str, &'static [Verb], bool) {
        match self {
            Self::Ask => ("ask how the server is", &[], false),
            Self::LogIn => ("log in or out", &[], false),
            Self::AskOneself => ("ask who one is", &[], false),
            Self::ViewRuns => ("view runs", &[Verb::View], false),
            Self::ViewPlaybooks => ("view playbooks", &[Verb::View], false),
            Self::ViewClusters => ("view clusters", &[Verb::View], false),
            Self::ViewPlugins => ("view plugins", &[Verb::View], false),
            Self::ViewServer => ("view the server", &[Verb::View], false),
            Self::StartRun => ("start a run", &[Verb::Start], true),
            Self::Exec => ("run commands", &[Verb::Exec], true),
            Self::SteerRun => ("steer a run", &[Verb::Steer], true),
            Self::CommandRun => ("steer or approve a run", &[Verb::Steer, Verb::Approve], true),
            Self::ApproveRun => ("approve or reject a run", &[Verb::Approve], true),
            Self::OverrideGuard => ("override a guard", &[Verb::Admin], true),
            Self::ForceAbandon => ("give up a run that can go on", &[Verb::Admin], true),
            Self::ApplyAny => ("apply playbooks or clusters", &[Verb::Apply, Verb::Operate], true),
            Self::ApplyPlaybook => ("apply a playbook", &[Verb::Apply], true),
            Self::DeletePlaybook => ("delete a playbook", &[Verb::Apply], true),
            Self::ApplyCluster => ("apply a cluster", &[Verb::Operate], true),
            Self::DeleteCluster => ("delete a cluster", &[Verb::Operate], true),
            Self::LoosenCluster => {
                ("loosen the guards or change the credentials of a cluster", &[Verb::Admin], true)
            }
            Self::UploadPlugin => ("upload a plugin", &[Verb::Upload], true),
            Self::ImportPlugin => ("import a plugin", &[Verb::Upload], true),
            Self::DeletePlugin => ("delete a plugin", &[Verb::Upload], true),
            Self::DrainEngine => ("drain an engine", &[Verb::Admin], true),
            Self::ReadAudit => ("read the audit", &[Verb::Admin], false),
        }
    }

    /// What is done, in words.
    pub(in crate::api) const fn words(self) -> &'static str {
        self.row().0
    }

    /// The verbs of which one is wanted. None: whoever asks may.
    pub(in crate::api) const fn verbs(self) -> &'static [Verb] {
        self.row().1
    }

    /// Whether it changes anything, so that it is in the audit.
    pub(in crate::api) const fn changes(self) -> bool {
        self.row().2
    }

    /// Whether also somebody may of whom nothing is known.
    pub(in crate::api) const fn is_open(self) -> bool {
        match self {
            Self::Ask | Self::LogIn => true,
            Self::AskOneself
            | Self::ViewRuns
            | Self::ViewPlaybooks
            | Self::ViewClusters
            | Self::ViewPlugins
            | Self::ViewServer
            | Self::StartRun
            | Self::Exec
            | Self::SteerRun
            | Self::CommandRun
            | Self::ApproveRun
            | Self::OverrideGuard
            | Self::ForceAbandon
            | Self::ApplyAny
            | Self::ApplyPlaybook
            | Self::DeletePlaybook
            | Self::ApplyCluster
            | Self::DeleteCluster
            | Self::LoosenCluster
            | Self::UploadPlugin
            | Self::ImportPlugin
            | Self::DeletePlugin
            | Self::DrainEngine
            | Self::ReadAudit => false,
        }
    }
}
