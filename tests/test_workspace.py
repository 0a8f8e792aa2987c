import sqlalchemy as sa

from undrift.core import Actor
from undrift.workspace import Workspace


def test_a_log_whose_end_was_cut_off_does_not_get_a_new_published_head(tmp_path):
    workspace = Workspace.open(tmp_path / ".undrift", create=True)
    for _ in range(3):
        ctx = workspace.context(Actor("ada"))
        with ctx.begin():
            ctx.emit("test.happened", "test/1", project="p")
    published = workspace.publish_head(force=True)
    assert published is not None
    assert published.position == 3
    with workspace.database.begin() as tx:
        tx.execute(sa.text("DELETE FROM events WHERE position > 1"))
    workspace.close()
    again = Workspace.open(tmp_path / ".undrift")
    ctx = again.context(Actor("ada"))
    for _ in range(5):
        with ctx.begin():
            ctx.emit("test.happened", "test/1", project="p")
    again.publish_head(force=True)
    assert again.published_head() == published
    again.close()
