"""Alembic's entry: renders the statements between two revisions; the database of this process runs them."""

from alembic import context

context.configure(
    dialect_name=context.config.get_main_option("dialect"),
    version_table="schema_migrations",
    literal_binds=True,
    transactional_ddl=False,
    output_buffer=context.config.output_buffer,
)
context.run_migrations()
