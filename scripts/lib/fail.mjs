// A failure that is the user's to solve: its message is shown as it is, without a stack.

/** Thrown for a missing tool, a failed build step and the like; `remedy` says what to do about it. */
export class Failure extends Error {
  constructor(message, remedy) {
    super(remedy ? `${message}\n  ${remedy}` : message);
    this.name = 'Failure';
  }
}

/** Runs a program's main function and turns what it throws into one readable message and exit status 1. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    process.exitCode = 1;
    console.error(`\nplenipo: ${error instanceof Failure ? error.message : (error?.stack ?? error)}`);
  }
}
