//! What other engines are told of the files of this server, so that they notice which of them differ.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::access_args::OpenedAccess;
use crate::credentials::Credentials;
use crate::driver::FileSums;
use crate::folder_sum::FolderSum;
use crate::policy::CurrentPolicy;
use crate::secrets::SecretFolder;
use crate::store::{ACCESS_FILE, CREDENTIALS_FOLDER, POLICY_FILE, SECRETS_FOLDER};

/// The digests of the folders of this server that engines compare.
#[derive(Clone, Debug)]
pub(super) struct FolderSums {
    credentials: Option<FolderSum>,
    secrets: Option<FolderSum>,
}

impl FolderSums {
    pub(super) fn of(
        credentials: Option<Credentials>,
        secrets: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let credentials = credentials.map(|folder| FolderSum::of(move || folder.sum()));
        let secrets = secrets.map(|folder| FolderSum::of(move || SecretFolder::sum(&folder)));
        Ok(Self { credentials: credentials.transpose()?, secrets: secrets.transpose()? })
    }

    pub(super) fn all(self) -> impl Iterator<Item = FolderSum> {
        [self.credentials, self.secrets].into_iter().flatten()
    }
}

/// What other engines are told of the files of this server.
pub(super) fn file_sums(
    policy: CurrentPolicy,
    FolderSums { credentials, secrets }: FolderSums,
    access: &OpenedAccess,
) -> FileSums {
    let access = access.current();
    FileSums::of(move || {
        let access = access.standing().map(|standing| standing.content);
        let policy = policy.standing().map(|standing| standing.content);
        let credentials = credentials.as_ref().map(FolderSum::now);
        let secrets = secrets.as_ref().map(FolderSum::now);
        BTreeMap::from([
            (POLICY_FILE.to_owned(), policy),
            (CREDENTIALS_FOLDER.to_owned(), credentials),
            (SECRETS_FOLDER.to_owned(), secrets),
            (ACCESS_FILE.to_owned(), access),
        ])
    })
}
