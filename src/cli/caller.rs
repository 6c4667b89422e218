//! Who runs this program, and what of the environment is theirs.

/// Programs that make somebody root, and the variables by which they say for whom: the user's number, the group's.
const BECOMERS: [(&str, &str, &str); 3] =
    [("sudo", "SUDO_UID", "SUDO_GID"), ("pkexec", "PKEXEC_UID", ""), ("doas", "DOAS_USER", "")];

/// For whom this program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// For the user that it runs as.
    Own,
    /// For a user who became root by a program that says so.
    Known {
        /// The user.
        uid: u32,
        /// The user's group.
        gid: u32,
    },
    /// For somebody whom the program that made them root, here by its name, does not name.
    Unknown(&'static str),
}

/// Whether the environment is that of the user who answers for it: under sudo it may be another's.
pub(super) fn trusts_environment() -> bool {
    caller() == Caller::Own
}

/// For whom this program runs.
pub(super) fn caller() -> Caller {
    if !nix::unistd::geteuid().is_root() {
        return Caller::Own;
    }
    for (program, user, group) in BECOMERS {
        let Some(user) = variable(user) else { continue };
        let known = number(&user).or_else(|| passwd(&user));
        let Some((uid, own)) = known else { return Caller::Unknown(program) };
        let said = variable(group).and_then(|gid| gid.parse().ok());
        return match (uid, said.or(own)) {
            // Root who became root.
            (0, _) => Caller::Own,
            (uid, Some(gid)) => Caller::Known { uid, gid },
            (_, None) => Caller::Unknown(program),
        };
    }
    by_login()
}

/// After `su` the environment has the caller's LOGNAME no more, but the kernel keeps who logged in.
fn by_login() -> Caller {
    // 4294967295: nobody has logged in, as for a service.
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login =
        login.and_then(|text| text.trim().parse::<u32>().ok()).filter(|uid| *uid != u32::MAX && *uid != 0);
    match login.map(|uid| number(&uid.to_string())) {
        None => Caller::Own,
        Some(Some((uid, Some(gid)))) => Caller::Known { uid, gid },
        Some(_) => Caller::Unknown("su"),
    }
}

fn number(text: &str) -> Option<(u32, Option<u32>)> {
    let uid = text.parse().ok()?;
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    Some((uid, user.map(|user| user.gid.as_raw())))
}

fn passwd(name: &str) -> Option<(u32, Option<u32>)> {
    let user = nix::unistd::User::from_name(name).ok().flatten()?;
    Some((user.uid.as_raw(), Some(user.gid.as_raw())))
}

#[expect(clippy::disallowed_methods, reason = "cli is where the environment is read")]
fn variable(name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    // What is no text names nobody, and is not passed over.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Who called sudo or the like, where this is root by it.
pub(super) fn sudo_uid() -> Option<u32> {
    match caller() {
        Caller::Known { uid, .. } => Some(uid),
        Caller::Own | Caller::Unknown(_) => None,
    }
}

/// Where what is unpacked goes for a while.
pub(super) fn scratch() -> std::path::PathBuf {
    if trusts_environment() { std::env::temp_dir() } else { "/var/tmp".into() }
}
