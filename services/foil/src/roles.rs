//! The roles on NATS, as deploy/nats/permissions.toml has them.

use std::collections::BTreeMap;

use foil_proto::token::encode;
use serde::Deserialize;

const LIST: &str = include_str!("../../../deploy/nats/permissions.toml");
const TENANT: &str = "{tenant}";

/// A user of NATS, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The role, or `<role>-<tenant's token>`; the key's file has it too.
    pub name: String,
    pub rights: Rights,
    /// Has an account of its own, which imports what the rights name.
    pub apart: bool,
}

/// Subjects and patterns; nothing else is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    roles: BTreeMap<String, Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    apart: bool,
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// The same for one tenant.
    bound: Option<Rights>,
}

fn list() -> BTreeMap<String, Role> {
    let list: List =
        toml::from_str(LIST).expect("the list in this program is valid: a test reads it");
    list.roles
}

/// One user for each role.
pub fn users() -> Vec<User> {
    let user = |(name, role): (String, Role)| User {
        name,
        rights: Rights {
            publish: role.publish,
            subscribe: role.subscribe,
        },
        apart: role.apart,
    };
    list().into_iter().map(user).collect()
}

/// The users of one tenant: of each role that can be bound to one.
pub fn bound_users(tenant: &str) -> Vec<User> {
    let token = encode(tenant);
    let fill = |patterns: Vec<String>| -> Vec<String> {
        let patterns = patterns.into_iter();
        patterns.map(|p| p.replace(TENANT, &token)).collect()
    };
    let user = |(name, role): (String, Role)| {
        let Rights { publish, subscribe } = role.bound?;
        Some(User {
            name: format!("{name}-{token}"),
            rights: Rights {
                publish: fill(publish),
                subscribe: fill(subscribe),
            },
            apart: role.apart,
        })
    };
    list().into_iter().filter_map(user).collect()
}

/// The tenant's token in the name of a bound user.
pub fn token_of(name: &str) -> Option<String> {
    let (role, token) = name.split_once('-')?;
    let role = list().remove(role)?;
    role.bound.is_some().then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_user_reaches_one_tenant() {
        let users = bound_users("a.b");
        let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["caller-a=2Eb", "producer-a=2Eb"]);
        for user in &users {
            let all = user.rights.publish.iter().chain(&user.rights.subscribe);
            for pattern in all {
                assert!(pattern.contains(".a=2Eb."), "{pattern}");
            }
            assert_eq!(token_of(&user.name).as_deref(), Some("a=2Eb"));
        }
    }

    /// What a user of one account could reach by the reply of a request, everybody in it could.
    #[test]
    fn whoever_is_no_part_of_foil_is_apart() {
        let apart: Vec<_> = users().into_iter().filter(|user| user.apart).collect();
        let names: Vec<_> = apart.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["caller", "observer", "producer"]);
        assert!(bound_users("acme").iter().all(|user| user.apart));
    }

    #[test]
    fn no_role_is_written_with_a_tenant() {
        for user in users() {
            let Rights { publish, subscribe } = &user.rights;
            let open = publish.iter().chain(subscribe).find(|p| p.contains('{'));
            assert_eq!(open, None, "{}", user.name);
            assert_eq!(token_of(&user.name), None);
        }
    }
}
