//! Who asks: until there is access control, the user of this machine. A variable may add in whose name.
//! Histories show both, so nobody can hide behind a name that anybody may set.

use std::fs::read_to_string;

/// The variable that says in whose name a program asks. It is sent along with the user, since anybody may set
/// it.
const VARIABLE: &str = "REPLIBOOK_USER";

/// The list of users of the machine.
const USERS: &str = "/etc/passwd";

/// The name of the machine.
const HOST: &str = "/proc/sys/kernel/hostname";

/// The user and the machine of this process: `ada@build-7`, or `ada@build-7, as boss` with `REPLIBOOK_USER`.
pub(crate) fn who() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    let id = rustix::process::getuid().as_raw();
    // If users are kept elsewhere, the login has set their name.
    let user = read_to_string(USERS).ok().and_then(|users| name_of(&users, id));
    let user = user.or_else(|| ["USER", "LOGNAME"].into_iter().find_map(variable));
    let user = user.unwrap_or_else(|| format!("uid-{id}"));
    let host = read_to_string(HOST).ok().map(|name| name.trim().to_owned());
    let host = host.filter(|name| !name.is_empty()).map(|name| format!("@{name}"));
    let told = variable(VARIABLE).map(|name| format!(", as {name}"));
    Some(user + &host.unwrap_or_default() + &told.unwrap_or_default())
}

/// The name of a user in lines of `name:password:id:…`.
fn name_of(users: &str, id: u32) -> Option<String> {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let (name, found) = (fields.next()?, fields.nth(1)?);
        (found.parse() == Ok(id) && !name.is_empty()).then(|| name.to_owned())
    };
    users.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_goes_by_its_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\n:x:7::\nbroken\nada:x:1000:1000::/:\n";
        assert_eq!(name_of(users, 1000).as_deref(), Some("ada"));
        assert_eq!(name_of(users, 0).as_deref(), Some("root"));
        for nobody in [1, 7, 1001] {
            assert_eq!(name_of(users, nobody), None);
        }
        assert_eq!(name_of("", 0), None);
    }
}
