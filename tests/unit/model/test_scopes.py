"""The table of permissions, the rule that decides by it, and the roles that every hub has."""

from __future__ import annotations

import pytest

from atoll.model.errors import Malformed
from atoll.model.people import check_name, check_node_name, check_shown
from atoll.model.scopes import (
    RIGHTS,
    ROLES,
    Reach,
    Scope,
    Sight,
    Whose,
    common,
    grants,
    known_scopes,
    missing,
    parse,
)


def sight(reach: Reach | None) -> Sight:
    """What Ada of home sees, who shares islands with a partner."""
    return Sight(
        reach=reach,
        user="ada",
        organization="home",
        collaborations=frozenset({"islands"}),
        peers=frozenset({"home", "partner"}),
    )


def whose(*organizations: str, user: str | None = None, collaboration: str | None = None) -> Whose:
    """Whom a thing belongs to."""
    return Whose(
        user=user,
        organizations=frozenset(organizations),
        collaborations=None if collaboration is None else frozenset({collaboration}),
    )


@pytest.mark.parametrize(
    ("thing", "narrowest"),
    [
        (whose("home", user="ada"), Reach.OWN),
        (whose("away", user="ada"), Reach.OWN),
        (whose("home", user="bob"), Reach.ORGANIZATION),
        (whose("partner"), Reach.COLLABORATION),
        (whose("partner", collaboration="islands"), Reach.COLLABORATION),
        (whose("partner", collaboration="elsewhere"), Reach.GLOBAL),
        (whose("away"), Reach.GLOBAL),
        (whose(), Reach.GLOBAL),
    ],
)
def test_a_thing_is_covered_from_the_narrowest_reach_that_has_it_on(thing: Whose, narrowest: Reach) -> None:
    assert [reach >= narrowest for reach in Reach] == [sight(reach).covers(thing) for reach in Reach]


def test_who_has_no_scope_covers_nothing_not_even_his_own() -> None:
    assert not sight(None).covers(whose("home", user="ada"))


def test_a_scope_is_read_from_its_own_text() -> None:
    scopes = [
        Scope(resource=right.resource, operation=right.operation, reach=reach)
        for right in RIGHTS
        for reach in right.reaches
    ]

    assert scopes == [parse(str(scope)) for scope in scopes]


@pytest.mark.parametrize(
    "text", ["", "run", "run:view", "run:fly:own", "run:view:far", "run:create:own", "a:b:c:d"]
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="there is no scope"):
        parse(text)


def test_scopes_of_another_version_are_passed_over() -> None:
    assert ["run:view:own"] == [str(scope) for scope in known_scopes(["run:fly:own", "run:view:own"])]


def test_of_several_scopes_the_widest_counts() -> None:
    scopes = map(parse, ["run:view:own", "run:view:global", "run:view:organization"])

    assert {"run:view": Reach.GLOBAL} == grants(scopes)


def test_a_token_holds_what_both_it_and_its_owner_may() -> None:
    owner = {"run:view": Reach.ORGANIZATION, "run:send": Reach.OWN}
    token = {"run:view": Reach.GLOBAL, "node:view": Reach.GLOBAL}

    assert {"run:view": Reach.ORGANIZATION} == common(owner, token)


def test_nobody_gives_away_what_reaches_further_than_his_own() -> None:
    mine = {"run:view": Reach.ORGANIZATION}
    given = [
        parse("run:view:own"),
        parse("run:view:organization"),
        parse("run:view:global"),
        parse("node:view:global"),
    ]

    assert given[2:] == missing(mine, given)


def test_an_administrator_may_everything() -> None:
    assert {right.name: right.reaches[-1] for right in RIGHTS} == grants(ROLES["administrator"])


@pytest.mark.parametrize(
    ("giver", "given"),
    [
        *(("administrator", role) for role in ROLES),
        ("organization-administrator", "researcher"),
        ("organization-administrator", "viewer"),
    ],
)
def test_who_administers_people_can_give_the_roles_that_they_need(giver: str, given: str) -> None:
    assert [] == missing(grants(ROLES[giver]), ROLES[given])


def test_an_organizations_administrator_can_make_no_administrator_of_the_hub() -> None:
    assert missing(grants(ROLES["organization-administrator"]), ROLES["administrator"])


#: What vantage6's rules can allow: by resource, operation and reach; first letters.
VANTAGE6 = """
collaboration view go, collaboration edit gc, collaboration create g, collaboration delete gc,
organization view goc, organization edit goc, organization create g, organization delete g,
study view goc, study edit gco, study create gc, study delete gco,
node view gco, node edit gco, node create gco, node delete gco,
user view gco, user edit gcow, user create gco, user delete gcow,
role view gco, role edit gco, role create gco, role delete gco,
run view gcow, run create gc, run delete gcow, result view gcow,
event receive ocg, run send ocg
"""


def test_all_that_the_rules_of_vantage6_can_allow_can_be_allowed() -> None:
    reaches = {"g": Reach.GLOBAL, "c": Reach.COLLABORATION, "o": Reach.ORGANIZATION, "w": Reach.OWN}
    known = {(right.resource, right.operation): set(right.reaches) for right in RIGHTS}
    for row in VANTAGE6.split(","):
        resource, operation, letters = row.split()
        assert {reaches[letter] for letter in letters} <= known[resource, operation], row


@pytest.mark.parametrize("name", ["Biscoe", "a", "Île 1", "x-y_z.1", "日本"])
def test_a_name_that_may_be_a_folders_may_be_a_nodes(name: str) -> None:
    assert name == check_node_name(name)


@pytest.mark.parametrize(
    "name", ["", " a", "a ", ".a", "a.", "a/b", "a\n", "a" * 201, "_a", "remote", "Submitter"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        check_node_name(name)


def test_a_refused_name_is_not_repeated() -> None:
    with pytest.raises(Malformed) as refused:
        check_name("a/b-secret", "a person")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["Ada Lovelace", "O'Hara & Co. (Ltd)", "李"])
def test_a_name_that_is_shown_may_have_any_sign(name: str) -> None:
    assert name == check_shown(name, "a person")


@pytest.mark.parametrize("name", ["", " ", " a", "a\tb", "a\nb", "a\x00", "a" * 201])
def test_a_name_that_is_shown_is_one_line_without_spaces_around_it(name: str) -> None:
    with pytest.raises(Malformed):
        check_shown(name, "a person")
