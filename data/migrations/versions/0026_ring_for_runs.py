"""on PostgreSQL: a run that waits is told to the engine that hands out work, where there is one

The engine has tables of its own beside ours (data/run_jobs.py), which are made again at will. These functions stay, and
do nothing while there are no such tables. Whatever goes wrong with a job must not keep a run from being queued.
"""

from alembic import op

revision = "0026"
down_revision = "0021"

_RING = """
CREATE FUNCTION cohort_bridge_ring(run_id bigint, queue text, run_lock text, due timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = cohort_bridge_jobs AS $$
BEGIN
    IF to_regclass('cohort_bridge_jobs.procrastinate_jobs') IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM procrastinate_jobs WHERE queueing_lock = 'run-' || run_id AND status = 'todo';
    PERFORM procrastinate_defer_jobs_v1(ARRAY[ROW(
        queue, 'cohort_bridge.run', 0, run_lock, 'run-' || run_id, jsonb_build_object('run_id', run_id), due
    )]::procrastinate_job_to_defer_v1[]);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'no job for run %: %', run_id, SQLERRM;
END $$
"""
_HUSH = """
CREATE FUNCTION cohort_bridge_hush(run_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = cohort_bridge_jobs AS $$
BEGIN
    IF to_regclass('cohort_bridge_jobs.procrastinate_jobs') IS NOT NULL THEN
        DELETE FROM procrastinate_jobs WHERE queueing_lock = 'run-' || run_id;
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'the job of run % stays: %', run_id, SQLERRM;
END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_RING)
        op.execute(_HUSH)
