"""sign-in, audit log, the service account's standing"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0005"
down_revision = "0004"

Text = sqlmodel.sql.sqltypes.AutoString
Moment = sqlmodel.sql.sqltypes.UTCDateTime


def upgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("permits", Text(), nullable=True))
    op.create_table(
        "audit_entry",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("who", Text(length=320), nullable=False),
        sa.Column("action", Text(length=64), nullable=False),
        sa.Column("outcome", Text(length=16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("previous", Text(length=64), nullable=False),
        sa.Column("hash", Text(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("audit_entry", schema=None) as batch_op:
        for column in ("at", "who", "action"):
            batch_op.create_index(batch_op.f(f"ix_audit_entry_{column}"), [column], unique=False)

    op.create_table(
        "sign_in",
        sa.Column("key", Text(length=64), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("email", Text(length=320), nullable=False),
        sa.Column("issued_at", Moment(), nullable=False),
        sa.Column("seen_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("ended_why", Text(), nullable=True),
        sa.Column("refused", Text(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"]),
        sa.PrimaryKeyConstraint("key"),
    )
    with op.batch_alter_table("sign_in", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_in_person_id"), ["person_id"], unique=False)

    with op.batch_alter_table("person", schema=None) as batch_op:
        batch_op.add_column(sa.Column("signed_in_at", Moment(), nullable=True))
        batch_op.add_column(sa.Column("sign_ins_from", Moment(), nullable=True))

    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.add_column(sa.Column("account_trouble", Text(), nullable=True))
        batch_op.add_column(sa.Column("account_expires_at", Moment(), nullable=True))
        batch_op.add_column(sa.Column("account_asked_at", Moment(), nullable=True))
