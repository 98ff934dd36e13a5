"""Stores and files of users: opened read-only, never changed, and never advised to be deleted."""
