"""The TypeScript SDK. Python needs only what `npm run build` leaves in dist/; see flora.actors.sdk_files."""
