"""What a route asks of its caller. Every route names one rule as a dependency; an application without it is not built.

Which searches a caller sees is for the verbs (lifecycle/access.py): a rule knows the route alone.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.routing import Mount

from nas_service.domain.roles import Caller, Right, roles_with
from nas_service.lifecycle.errors import Forbidden, NotSignedIn

PUBLIC_MOUNTS = ("/static",)


class SignIn(Exception):
    """Somebody without a good key asks for a page."""

    def __init__(self, request: Request) -> None:
        super().__init__("sign in first")
        path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
        self.page = f"{path}?{query}" if query else path


class Public:
    """For everybody, without a key."""

    async def __call__(self) -> None:
        """Let pass."""


class Rule(SecurityBase):
    """For callers whose role has a right."""

    def __init__(self, right: Right) -> None:
        self.right = right
        self.model = HTTPBearer(description="an API key, made by `hourglass keys create`; none while there are no keys")
        self.scheme_name = "API key"

    async def __call__(self, request: Request) -> Caller:
        """The caller; raises NotSignedIn, or Forbidden with the role that is needed."""
        caller: Caller | None = request.state.caller
        if caller is None:
            raise NotSignedIn(request.state.refusal)
        if not caller.may(self.right):
            wanted = " or ".join(roles_with(self.right))
            raise Forbidden(f"this needs a key of the role {wanted} (the key {caller.name} is a {caller.role}'s)")
        return caller


class PageRule(Rule):
    """The same for a page that people look at: whoever has no key is led to the login page."""

    async def __call__(self, request: Request) -> Caller:
        """The caller; raises SignIn, or Forbidden with the role that is needed."""
        if request.state.caller is None:
            raise SignIn(request)
        return await super().__call__(request)


public = Depends(Public())
any_key = Depends(Rule(Right.CALL))
AnyKey = Annotated[Caller, any_key]
Looker = Annotated[Caller, Depends(Rule(Right.LOOK))]
PageLooker = Annotated[Caller, Depends(PageRule(Right.LOOK))]
Submitter = Annotated[Caller, Depends(Rule(Right.SUBMIT))]
Laborer = Annotated[Caller, Depends(Rule(Right.WORK))]
Admin = Annotated[Caller, Depends(Rule(Right.ADMINISTER))]


def rule_of(route: RouteContext) -> Public | Rule:
    """The one rule of a route."""
    if isinstance(route.original_route, Mount) and route.path in PUBLIC_MOUNTS:
        return Public()
    dependant: Dependant | None = getattr(route, "dependant", None)
    rules = [] if dependant is None else list(_rules_among(dependant))
    assert len(rules) == 1, f"{route.path} must name one rule of api/rules.py as a dependency (it names {len(rules)})"
    return rules[0]


def require_rules(app: FastAPI) -> None:
    """Look that every route of the application has its rule."""
    for route in iter_route_contexts(app.routes):
        rule_of(route)


def _rules_among(dependant: Dependant) -> Iterator[Public | Rule]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Public | Rule):
            yield dependency.call
        yield from _rules_among(dependency)
