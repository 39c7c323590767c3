"""The bridge to its_hub (extra `its-hub`): its algorithms as a policy (`policy`), and policies as
its algorithms (`algorithm`)."""
