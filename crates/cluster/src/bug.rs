//! Deliberate bugs: a simulator that does not find them proves nothing. They exist in this crate's tests only.

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "made by the tests"))]
pub(crate) enum Bug {
    /// It folds, and answers, what was only read.
    AnswersBeforeSettled,
    /// It decides as soon as its claim is acknowledged.
    DecidesBeforeClaimIsRead,
    /// It sends a frame again whose result was unknown, and decides on without a claim.
    TakesUnknownForLost,
    /// It decides in the name of whoever leads.
    FollowerDecides,
    /// It lets a frame of an earlier term count.
    CountsZombies,
    /// It goes on after a log that lacks what was read before.
    CutsMirror,
    /// It works outwards although nothing of it has counted for a while.
    WorksAfterWindow,
    /// It claims after each loss of the connection.
    ClaimsOnReconnect,
    /// It goes on alone although the log named another node.
    BothLeave,
    /// It takes what it read before a failover for what is there after it.
    KeepsBuffer,
}
