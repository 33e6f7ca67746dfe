//! How an endpoint's requests are shared among its deployments.

use serde::{Deserialize, Serialize};

use super::names::DeploymentName;

/// Integer percentages by deployment; their sum is 0 (no traffic) or 100.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(DeploymentName, u8)>", into = "Vec<(DeploymentName, u8)>")]
pub struct Traffic(Vec<(DeploymentName, u8)>);

/// Why a set of percentages cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// The sum is neither 0 nor 100.
    #[error("the percentages add up to {0}; they must add up to 100, or to 0 for no traffic")]
    Sum(u32),
    /// A deployment is named twice.
    #[error("deployment `{0}` is named twice")]
    Repeated(DeploymentName),
}

impl Traffic {
    /// The shares; a deployment that is not named has none.
    pub fn shares(&self) -> impl Iterator<Item = (&DeploymentName, u8)> {
        self.0.iter().map(|(name, percent)| (name, *percent))
    }

    /// The share of one deployment.
    pub fn share(&self, deployment: &DeploymentName) -> u8 {
        self.shares().find(|(name, _)| *name == deployment).map_or(0, |(_, percent)| percent)
    }
}

/// The largest share of an endpoint's requests that may be copied.
const MAX_MIRROR: u8 = 50;

/// One deployment gets copies of a share of the requests; its answers are thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Where the copies go.
    pub deployment: DeploymentName,
    /// How many of a hundred requests are copied, 1 to 50.
    pub percent: u8,
}

/// Why requests cannot be mirrored so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// Two deployments are named.
    #[error("mirrored traffic goes to one deployment, and {0} are named")]
    Several(usize),
    /// Too much.
    #[error("{0} % is more than the {MAX_MIRROR} % that may be mirrored")]
    TooMuch(u8),
    /// It has live traffic.
    #[error("deployment `{0}` has live traffic, and cannot have mirrored traffic as well")]
    Live(DeploymentName),
}

impl Mirror {
    /// Reads a map of shares, of which zeros say nothing ("Safe rollout for online endpoints").
    pub fn read(shares: Vec<(DeploymentName, u8)>, live: &Traffic) -> Result<Option<Mirror>, MirrorError> {
        let mut named: Vec<_> = shares.into_iter().filter(|(_, percent)| *percent > 0).collect();
        if named.len() > 1 {
            return Err(MirrorError::Several(named.len()));
        }
        let Some((deployment, percent)) = named.pop() else { return Ok(None) };
        if percent > MAX_MIRROR {
            return Err(MirrorError::TooMuch(percent));
        }
        if live.share(&deployment) > 0 {
            return Err(MirrorError::Live(deployment));
        }
        Ok(Some(Mirror { deployment, percent }))
    }
}

impl TryFrom<Vec<(DeploymentName, u8)>> for Traffic {
    type Error = TrafficError;

    fn try_from(mut shares: Vec<(DeploymentName, u8)>) -> Result<Traffic, TrafficError> {
        let sum = shares.iter().map(|(_, percent)| u32::from(*percent)).sum();
        if sum != 0 && sum != 100 {
            return Err(TrafficError::Sum(sum));
        }
        shares.sort();
        for pair in shares.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a == b
            {
                return Err(TrafficError::Repeated(a.clone()));
            }
        }
        Ok(Traffic(shares))
    }
}

impl From<Traffic> for Vec<(DeploymentName, u8)> {
    fn from(traffic: Traffic) -> Self {
        traffic.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_zero_or_a_hundred() {
        let traffic = |shares: &[(&str, u8)]| {
            Traffic::try_from(shares.iter().map(|(n, p)| (n.parse().unwrap(), *p)).collect::<Vec<_>>())
        };
        assert!(traffic(&[]).is_ok());
        assert!(traffic(&[("blue", 0)]).is_ok());
        assert!(traffic(&[("blue", 90), ("green", 10)]).is_ok());
        assert_eq!(traffic(&[("blue", 90), ("green", 9)]), Err(TrafficError::Sum(99)));
        assert_eq!(
            traffic(&[("blue", 50), ("BLUE", 50)]),
            Err(TrafficError::Repeated("blue".parse().unwrap()))
        );
    }

    #[test]
    fn one_shadow_of_at_most_a_half_without_live_traffic() {
        let name = |text: &str| text.parse::<DeploymentName>().unwrap();
        let live = Traffic::try_from(vec![(name("blue"), 100)]).unwrap();
        let read =
            |shares: &[(&str, u8)]| Mirror::read(shares.iter().map(|(n, p)| (name(n), *p)).collect(), &live);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("green", 0), ("blue", 0)]), Ok(None));
        assert_eq!(read(&[("green", 50)]), Ok(Some(Mirror { deployment: name("green"), percent: 50 })));
        assert_eq!(read(&[("green", 51)]), Err(MirrorError::TooMuch(51)));
        assert_eq!(read(&[("Blue", 10)]), Err(MirrorError::Live(name("blue"))));
        assert_eq!(read(&[("green", 10), ("red", 10)]), Err(MirrorError::Several(2)));
    }
}
