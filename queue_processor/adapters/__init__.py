"""The SDKs, each behind the roles that the controller needs."""
