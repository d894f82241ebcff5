"""The contract suites of the storage floor, on every deployment that the conftest opens."""

from cloche.testing.contracts.approvals import TestApprovals, TestDelegation
from cloche.testing.contracts.branches import TestBranches
from cloche.testing.contracts.checkups import TestCheckups
from cloche.testing.contracts.claims import TestClaims, TestUnfinishedWork
from cloche.testing.contracts.events import TestLog, TestReading
from cloche.testing.contracts.findings import TestFindings, TestMending
from cloche.testing.contracts.isolation import TestIsolation
from cloche.testing.contracts.messages import TestClientMessageIds, TestMessages, TestSearch
from cloche.testing.contracts.moves import TestExecutions, TestFences, TestMoves, TestPauses
from cloche.testing.contracts.retention import TestPurging, TestTrimming
from cloche.testing.contracts.run_figures import TestRunFigures
from cloche.testing.contracts.run_stories import TestRunStories
from cloche.testing.contracts.runs import TestAdmission, TestRuns
from cloche.testing.contracts.search import TestFinding
from cloche.testing.contracts.sign_in import TestOnce
from cloche.testing.contracts.steps import TestSteps
from cloche.testing.contracts.tenant_runs import TestTenantRuns
from cloche.testing.contracts.threads import TestReadMarks, TestThreads
from cloche.testing.contracts.transactions import TestAfterCommit, TestCancellation, TestStatements, TestTransactions
from cloche.testing.contracts.usage import TestUsage, TestUsageByDay

__all__ = [
    "TestAdmission",
    "TestAfterCommit",
    "TestApprovals",
    "TestBranches",
    "TestCancellation",
    "TestCheckups",
    "TestClaims",
    "TestClientMessageIds",
    "TestDelegation",
    "TestExecutions",
    "TestFences",
    "TestFinding",
    "TestFindings",
    "TestIsolation",
    "TestLog",
    "TestMending",
    "TestMessages",
    "TestMoves",
    "TestOnce",
    "TestPauses",
    "TestPurging",
    "TestReadMarks",
    "TestReading",
    "TestRunFigures",
    "TestRunStories",
    "TestRuns",
    "TestSearch",
    "TestStatements",
    "TestSteps",
    "TestTenantRuns",
    "TestThreads",
    "TestTransactions",
    "TestTrimming",
    "TestUnfinishedWork",
    "TestUsage",
    "TestUsageByDay",
]
