"""Deploy: sets an app's version in every place that decides it for one instance, and nothing else."""

from dataclasses import replace

from anyio import to_thread

from infra_mcp.actions.base import Look, set_fields
from infra_mcp.actions.located import change_of, edited, instance_of, instance_or_named
from infra_mcp.actions.settings import declared_version
from infra_mcp.actions.workload import goal, manifest
from infra_mcp.actions.workspaces import fitted
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.image import Image
from infra_mcp.policy.images import containers_of
from infra_mcp.policy.sections import AppRules
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.locator.version import locate
from infra_mcp.repository.render import Located

_Lists = dict[str, list[dict[str, str]]]


async def edit(look: Look, action: Deploy) -> Edit:
    """Set the version where it stands.

    Raises:
        InfraError: `not-found`, `environment-needed`, `not-in-repository`, `ambiguous-setting`, `digest-needed`,
            `automation`, `encrypted`; or a file cannot be read or edited.
    """
    return await to_thread.run_sync(_edit, look, action)  # it searches the files of the repository


def _edit(look: Look, action: Deploy) -> Edit:
    app = look.policy.apps.get(action.app)
    declared = declared_version(look, action)
    located = None if declared else manifest(look, action.app, action.environment)
    runs = f"{action.app} {action.version}"
    made = Edit(look.tree, goal(app, f"Deploy {runs}", runs, on_failure=action.on_failure))
    if app is not None and located is not None:
        lists, notes = _containers(app, action, located)
        return set_fields(replace(made, notes=notes), located, {"spec": {"template": {"spec": lists}}})
    instance = (instance_or_named if declared else instance_of)(look, action.app, action.environment)
    image = Image.parse(app.repository).repository if app and app.repository else ""
    wanted = app.tag_for(action.version) if app else action.version
    found = locate(look.census, instance, wanted, declared=declared, image=image, drop_digest=bool(action.drop_digest))
    made = replace(made, instance=change_of(instance, found.former, found.version), notes=tuple(found.notes))
    return edited(look, made, fitted(look, found.sets))


def _containers(app: AppRules, action: Deploy, located: Located) -> tuple[_Lists, tuple[str, ...]]:
    """The containers of the app's image by their lists, each with its image, and what a reader should know.

    Raises:
        InfraError: `not-in-repository`; `digest-needed`.
    """
    image, repository = app.image_for(action.version), app.repository
    if image is None or repository is None:
        what = f"The app {action.app} has no image in infra.toml."
        raise InfraError("not-in-repository", what, next_step='Add image = "…:{version}" to its section.')
    found = [(which, name, Image.parse(now)) for which, name, now in containers_of(located.object, repository)]
    if not found:
        what = f"No container of {located.ref} in {located.path} has an image of {repository}."
        raise InfraError("not-in-repository", what, next_step="Correct the app's image in infra.toml, or the manifest.")
    former = {now.tag for which, _, now in found if which == "containers"}
    wanted, lists, notes = Image.parse(image), _Lists(), list[str]()
    for which, name, now in found:
        label, moves = f"{which}[{name}]", now.tag != wanted.tag
        new = now._replace(tag=wanted.tag, digest=wanted.digest or ("" if moves else now.digest))
        if which != "containers" and former and now.tag not in former and moves:
            notes.append(f"{label} stays at {now.tag or now.digest}.")
            new = now
        elif now.digest and not new.digest:
            if not action.drop_digest:
                what = f"{label} of {located.ref} in {located.path} is pinned by {now.digest}: "
                what += f"with {wanted.tag} alone another image would run than one that is known."
                raise InfraError("digest-needed", what)
            notes.append(f"{label} loses its digest {now.digest}.")
        elif len(former) > 1 and moves:
            notes.append(f"{label} moves along from {now.tag or now.digest}.")
        lists.setdefault(which, []).append({"name": name, "image": str(new)})
    return lists, tuple(notes)
